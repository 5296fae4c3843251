import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { ApiError, api, ok } from '@/api/client'
import { forgetToken, keepToken, onSessionLost, renew, restore } from '@/api/token'

const problem = (status: number, code: string, headers: Record<string, string> = {}) =>
  Response.json({ title: code, detail: `because ${code}`, code, requestId: 'r1' }, { status, headers: { 'Content-Type': 'application/problem+json', ...headers } })

const tokens = (accessToken: string) => Response.json({ accessToken, tokenType: 'Bearer', expiresIn: 900, user: { id: '1', username: 'a', roles: [] } })

/** What the server would answer, by "METHOD /path Bearer". */
let server: (path: string, request: Request) => Response | Promise<Response>
let asked: string[]

beforeEach(() => {
  asked = []
  vi.stubGlobal('fetch', async (request: Request) => {
    const path = new URL(request.url).pathname.replace('/api/v1', '')
    asked.push([path, request.headers.get('Authorization')?.replace('Bearer ', '')].filter(Boolean).join(' '))
    return server(path, request)
  })
})

afterEach(() => {
  forgetToken()
  onSessionLost(() => {})
  vi.unstubAllGlobals()
})

it('a refused token is renewed once and the request sent again with its body', async () => {
  keepToken({ accessToken: 'old', expiresIn: 900 })
  server = async (path, request) => {
    if (path === '/auth/refresh') return tokens('new')
    if (request.headers.get('Authorization') !== 'Bearer new') return problem(401, 'token_expired')
    return Response.json({ users: await request.json() })
  }
  const answer = await ok(api.POST('/online/lookup', { body: { users: ['42'] } }))
  expect(answer).toEqual({ users: { users: ['42'] } })
  expect(asked).toEqual(['/online/lookup old', '/auth/refresh', '/online/lookup new'])
})

it('however many requests are refused, one refresh is under way', async () => {
  keepToken({ accessToken: 'old', expiresIn: 900 })
  server = (path, request) => {
    if (path === '/auth/refresh') return tokens('new')
    return request.headers.get('Authorization') === 'Bearer new' ? Response.json({}) : problem(401, 'token_expired')
  }
  await Promise.all([1, 2, 3].map(() => ok(api.GET('/online/counts'))))
  expect(asked.filter((path) => path === '/auth/refresh')).toHaveLength(1)
})

it('a token about to end is renewed before it is used', async () => {
  keepToken({ accessToken: 'old', expiresIn: 5 })
  server = (path) => (path === '/auth/refresh' ? tokens('new') : Response.json({}))
  await ok(api.GET('/online/counts'))
  expect(asked).toEqual(['/auth/refresh', '/online/counts new'])
})

it('the refresh carries the header that only a page of ours can set', async () => {
  server = (_, request) => tokens(request.headers.get('X-Rollcall') ?? 'missing')
  expect((await renew()).accessToken).toBe('1')
})

it('a refused refresh ends the session, tells why, and asks no further', async () => {
  keepToken({ accessToken: 'old', expiresIn: 900 })
  const lost = vi.fn()
  onSessionLost(lost)
  server = (path) => problem(401, path === '/auth/refresh' ? 'session_revoked' : 'token_expired')
  await expect(ok(api.GET('/online/counts'))).rejects.toMatchObject({ status: 401, code: 'token_expired' })
  expect(lost.mock.calls).toEqual([[expect.objectContaining({ code: 'session_revoked' })]])
  expect(asked).toEqual(['/online/counts old', '/auth/refresh'])
})

it('a busy server or a lost network does not end the session', async () => {
  const lost = vi.fn()
  onSessionLost(lost)
  server = () => problem(503, 'unavailable')
  await expect(renew()).rejects.toMatchObject({ status: 503 })
  server = () => Promise.reject(new TypeError('failed to fetch'))
  await expect(renew()).rejects.toMatchObject({ status: 0, code: 'network' })
  expect(lost).not.toHaveBeenCalled()
})

it('nothing to restore is no lost session, an unreachable server is an error', async () => {
  const lost = vi.fn()
  onSessionLost(lost)
  server = () => problem(401, 'unauthorized')
  expect(await restore()).toBeNull()
  expect(lost).not.toHaveBeenCalled()
  server = () => Promise.reject(new TypeError('failed to fetch'))
  await expect(restore()).rejects.toBeInstanceOf(ApiError)
})

it('a wrong password is not answered with a refresh', async () => {
  server = () => problem(401, 'bad_credentials')
  await expect(ok(api.POST('/auth/login', { body: { username: 'a', password: 'b' } }))).rejects.toMatchObject({ code: 'bad_credentials' })
  expect(asked).toEqual(['/auth/login'])
})

it('an error carries the sentence, the request id and how long to wait', async () => {
  keepToken({ accessToken: 't', expiresIn: 900 })
  server = () => problem(429, 'rate_limited', { 'Retry-After': '30' })
  const error = await ok(api.GET('/online/counts')).catch((thrown: ApiError) => thrown)
  expect(error).toMatchObject({ message: 'because rate_limited', retryAfter: 30, problem: { requestId: 'r1' } })
})

it("a proxy's page is an error like any other", async () => {
  keepToken({ accessToken: 't', expiresIn: 900 })
  server = () => new Response('<h1>Bad gateway</h1>', { status: 502, headers: { 'Content-Type': 'text/html' } })
  await expect(ok(api.GET('/online/counts'))).rejects.toMatchObject({ status: 502, code: 'http_502', message: 'HTTP 502' })
})

it('an answer without a body is no error', async () => {
  keepToken({ accessToken: 't', expiresIn: 900 })
  server = () => new Response(null, { status: 204 })
  await expect(ok(api.POST('/auth/logout'))).resolves.toBeUndefined()
})

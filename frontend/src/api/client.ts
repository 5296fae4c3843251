import createFetchClient from 'openapi-fetch'
import { ApiError } from './problem'
import type { paths } from './schema'
import { apiUrl, renew, send, token } from './token'

export { ApiError } from './problem'

/** The typed client of the REST API; pages read its answers through ok(). */
export const api = createFetchClient<paths>({ baseUrl: apiUrl(''), fetch: authorized })

/** The data of an answer, or an ApiError thrown: `const page = await ok(api.GET('/online/clients', { params }))`. */
export async function ok<T>(answer: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const { data, error, response } = await answer
  if (!response.ok) throw ApiError.from(response, error)
  return data as T
}

/** Sends with the access token; one 401 is answered with one new token and one repetition. */
async function authorized(request: Request): Promise<Response> {
  // What asks for a token cannot need one.
  if (request.url === apiUrl('/auth/login')) return send(request)
  const repetition = request.clone()
  const response = await send(withToken(request, await token()))
  if (response.status !== 401) return response
  try {
    const { accessToken } = await renew()
    return await send(withToken(repetition, accessToken))
  } catch (error) {
    // The session is over: the first answer says so too, and the session store has been told.
    if (error instanceof ApiError && error.status !== 0) return response
    throw error
  }
}

function withToken(request: Request, accessToken: string | null): Request {
  if (accessToken) request.headers.set('Authorization', `Bearer ${accessToken}`)
  return request
}

/**
 * The access token of this tab. It lives in this module's memory and nowhere else; the refresh token is a cookie
 * that no script can read.
 */
import { ApiError } from './problem'
import type { Tokens } from './types'

interface Access {
  token: string
  /** Milliseconds of Date.now(). */
  expiresAt: number
}

/** A token this close to its end (milliseconds) is renewed before it is used. */
const MARGIN = 10_000

let access: Access | null = null
let renewing: Promise<Tokens> | null = null
let lost: (error: ApiError) => void = () => {}

export const apiUrl = (path: string) => new URL(`api/v1${path}`, document.baseURI).href

/** Called when a refresh is refused: the session has ended. */
export function onSessionLost(handler: (error: ApiError) => void): void {
  lost = handler
}

export function keepToken({ accessToken, expiresIn }: Pick<Tokens, 'accessToken' | 'expiresIn'>): void {
  access = { token: accessToken, expiresAt: Date.now() + expiresIn * 1000 }
}

export function forgetToken(): void {
  access = null
}

/** The token for the next request, renewed when it is about to end; null when logged out. */
export async function token(): Promise<string | null> {
  if (access && access.expiresAt - Date.now() < MARGIN) await renew()
  return access?.token ?? null
}

/** Fetches a new access token with the cookie. However many ask, one request is under way in all tabs together. */
export function renew(): Promise<Tokens> {
  renewing ??= exclusively(refresh).finally(() => {
    renewing = null
  })
  return renewing
}

/** Restores the session after a reload; a refusal is no loss, there was nothing yet. */
export async function restore(): Promise<Tokens | null> {
  const quiet = lost
  lost = () => {}
  try {
    return await renew()
  } catch (error) {
    if (error instanceof ApiError && error.status >= 400 && error.status < 500) return null
    throw error
  } finally {
    lost = quiet
  }
}

async function refresh(): Promise<Tokens> {
  const response = await send(new Request(apiUrl('/auth/refresh'), { method: 'POST', headers: { 'X-Rollcall': '1' } }))
  const body: unknown = await response.json().catch(() => null)
  if (response.ok) {
    keepToken(body as Tokens)
    return body as Tokens
  }
  const error = ApiError.from(response, body)
  // Too many requests or a busy server say nothing about the session.
  if (response.status === 401 || response.status === 403) {
    forgetToken()
    lost(error)
  }
  throw error
}

/** fetch() whose failure is an ApiError; an abort stays an abort. */
export async function send(request: Request): Promise<Response> {
  try {
    return await fetch(request)
  } catch (error) {
    if (request.signal.aborted) throw error
    throw ApiError.network(error)
  }
}

/** The cookie rotates at each use, so tabs take turns. Pages outside a secure context have no locks. */
async function exclusively<T>(run: () => Promise<T>): Promise<T> {
  return navigator.locks ? await navigator.locks.request('rollcall.refresh', run) : await run()
}

/** What travels: the shapes of frames and close reasons, as Rollcall's protocol page defines them. */

/** A frame from the server. A reply carries the `id` of the call it answers, a push has none. */
export interface Frame<T = unknown> {
  event: string
  id?: string | number
  data?: T
  code: number
  errorMsg?: string
  /** Unix seconds. */
  timestamp: number
}

/** The first push on every socket. */
export interface Connected {
  clientId: string
  sessionId: string
  userId: string
  username: string
  node: string
  build: string
  pingIntervalSeconds: number
  idleTimeoutSeconds: number
  /** RFC 3339; when the access token ends. */
  expiresAt: string
  limits: { maxFrameBytes: number; maxRooms: number }
  reconnect: { minMs: number; maxMs: number }
}

/** Pushes that every client understands; an application adds its own. */
export interface CorePushes {
  connected: Connected
  kick: { reason: string; until?: string; by?: string }
  'auth/expiring': { expiresAt: string }
  'auth/changed': { gained: string[]; lost: string[] }
  'server/draining': { retryAfterMs: number }
}

/** Calls that every server answers: event → [what is sent, what is answered]. */
export interface CoreCalls {
  ping: [undefined, undefined]
  join: [{ id: string }, string[]]
  quit: [{ id: string }, string[]]
  'auth/refresh': [{ token: string }, { expiresAt: string }]
}

/** The close codes with a meaning of their own. */
export const CloseCode = {
  restart: 4000,
  stale: 4001,
  slow: 4008,
  overload: 4013,
  badFrames: 4400,
  unauthorized: 4401,
  forbidden: 4403,
  replaced: 4409,
  kicked: 4410,
  locked: 4429,
} as const

/** Why a socket is closed, read from its close frame. */
export interface CloseInfo {
  code: number
  /** The name in the close reason, such as `kicked` or `tokenExpired`; empty when there was none. */
  reason: string
  /** The operator's sentence, whole when the `kick` push arrived. */
  text?: string
  /** RFC 3339; until when a lockout lasts. */
  until?: string
  retryAfterMs?: number
}

const stayAway = new Set([1000, 1002, 1003, 1007, 1009, 1010])

/** The whole reconnect policy: these codes are final, after every other one a client comes back. */
export const isFinal = (code: number): boolean => stayAway.has(code) || (code >= 4400 && code <= 4999)

/** Reads the JSON close reason; anything else becomes the reason's name as it is. */
export function parseClose(code: number, raw: string): CloseInfo {
  try {
    const value = JSON.parse(raw) as Partial<CloseInfo> | null
    if (value && typeof value === 'object') return { ...value, code, reason: String(value.reason ?? '') }
  } catch {
    // A proxy's or another server's plain text.
  }
  return { code, reason: raw }
}

import type { CallOptions, RtError } from './calls.js'
import type { CloseInfo, Connected, CoreCalls, CorePushes, Frame } from './protocol.js'
import type { Subscription } from './standing.js'

/**
 * `idle` before connect() and after close(); `offline` is `retrying` while the browser says that there is no network;
 * `closed` is for good, and `client.closed` says why.
 */
export type State = 'idle' | 'connecting' | 'open' | 'retrying' | 'offline' | 'closed'

/** `renew` is true when the server just refused the last credential as expired: fetch a new one. */
export interface Attempt {
  renew: boolean
}

export interface Options {
  /** `http:` becomes `ws:`; a relative address is resolved against the page. */
  url: string | URL | (() => string | URL)
  /** A ticket (one use, 30 s) for each attempt. An RtError of code 401 or 403 thrown here is final. */
  getTicket?: (attempt: Attempt) => string | Promise<string>
  /** An access token for each attempt, for clients that have one instead of tickets. */
  getToken?: (attempt: Attempt) => string | Promise<string>
  /** The subprotocols themselves, when neither a ticket nor a token fits. */
  getProtocols?: (attempt: Attempt) => string[] | Promise<string[]>
  /** Milliseconds; the shortest wait before coming back. By default what the server announces, else 500. */
  minDelay?: number
  /** Milliseconds; the longest wait before coming back. By default what the server announces, else 20,000. */
  maxDelay?: number
  /** Milliseconds between two pings of our own; 15,000 by default. */
  heartbeat?: number
  /** Milliseconds a call waits for its reply; 10,000 by default, 0 waits as long as the connection lives. */
  callTimeout?: number
  /** What a handler threw; console.error by default. */
  onError?: (error: unknown, event: string) => void
  /** Another WebSocket class, for tests and for Node before 22. */
  WebSocket?: new (url: string | URL, protocols?: string[]) => WebSocket
}

/** Events of the client itself. */
export interface LocalEvents {
  $state: State
  /** The socket is open, at first or again: rooms are being joined and snapshots asked for. */
  $open: Connected
  /** The socket is closed for good. */
  $closed: CloseInfo
  /** Closed for good by an operator; comes just before `$closed`. */
  $kicked: CloseInfo
  /** The round trip of the last ping in milliseconds. */
  $rtt: number
  /** A failure that answers no call, such as a refused send(). */
  $error: Frame
}

type Request<C, E extends keyof C> = C[E] extends [infer R, unknown] ? R : unknown
type Reply<C, E extends keyof C> = C[E] extends [unknown, infer R] ? R : unknown
type Subscribed<C> = { [E in keyof C]: E extends `${infer N}/subscribe` ? N : never }[keyof C]
type Subscribe<C, N extends string> = `${N}/subscribe` & keyof C

export interface Client<P = CorePushes, C = CoreCalls> {
  readonly state: State
  /** What the server said when the present or last socket was opened. */
  readonly connected: Connected | null
  /** Why the socket is closed for good, in the state `closed`. */
  readonly closed: CloseInfo | null
  /** When the next attempt starts, in milliseconds of Date.now(); null when none is waiting. */
  readonly nextRetryAt: number | null
  /** The round trip of the last ping in milliseconds; null before the first. */
  readonly rtt: number | null
  /** Frames that were no JSON object with an `event`. */
  readonly badFrames: number

  /** Opens the socket. While waiting it tries at once; after `closed` it begins anew. */
  connect(): void
  /** Ends the socket and every timer; open calls are rejected. Rooms and subscriptions are kept for connect(). */
  close(): void

  /** Any number of handlers; `'*'` sees every push. Returns what removes the handler. */
  on<E extends keyof P & string>(event: E, handler: (data: P[E], frame: Frame<P[E]>) => void): () => void
  on<E extends keyof LocalEvents>(event: E, handler: (data: LocalEvents[E]) => void): () => void
  on(event: '*', handler: (data: unknown, frame: Frame) => void): () => void

  /** Rejects with RtError: the server's code, or `timeout`, `disconnected`, `aborted`. Never sent twice. */
  call<E extends keyof C & string>(event: E, data?: Request<C, E>, options?: CallOptions): Promise<Reply<C, E>>
  /** Sends without waiting for the reply; false when the socket is not open, and then nothing was sent. */
  send(event: string, data?: unknown): boolean

  /** Enters a room, counted by reference. Resolves when the server confirms, rejects when it refuses. */
  join(room: string): Promise<void>
  /** Leaves a room when its last join() is quit. */
  quit(room: string): void
  /** Sends `<name>/subscribe` now and after every reconnect; each reply is a new snapshot. */
  subscribe<N extends Subscribed<C> & string>(
    name: N,
    data: Request<C, Subscribe<C, N>>,
    onReply: (reply: Reply<C, Subscribe<C, N>>) => void,
    onError?: (error: RtError) => void,
  ): Subscription
}

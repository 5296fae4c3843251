import { Backoff } from './backoff.js'
import { type CallOptions, Calls, RtError } from './calls.js'
import { Emitter, type Handler } from './emitter.js'
import { Heartbeat } from './heartbeat.js'
import { CloseCode, type CloseInfo, type Connected, type CoreCalls, type CorePushes, type Frame, isFinal, parseClose } from './protocol.js'
import { type Line, Rooms, Subscriptions } from './standing.js'
import type { Client, Options, State } from './types.js'

/** An attempt that is not `connected` after so long is given up. */
const CONNECT_TIMEOUT = 10_000
/** A connection that lived so long starts the backoff and the one token renewal anew. */
const STABLE = 10_000

const OPEN = 1

/** The one way to make a client; it opens nothing before connect(). */
export function createClient<P = CorePushes, C = CoreCalls>(
  options: Options,
): Client<P, C> {
  return new SocketClient(options) as unknown as Client<P, C>
}

class SocketClient {
  state: State = 'idle'
  connected: Connected | null = null
  closed: CloseInfo | null = null
  nextRetryAt: number | null = null
  rtt: number | null = null
  badFrames = 0

  readonly #options: Options
  readonly #emitter: Emitter
  readonly #calls = new Calls()
  readonly #backoff = new Backoff()
  readonly #heartbeat: Heartbeat
  readonly #rooms: Rooms
  readonly #subscriptions: Subscriptions
  #socket: WebSocket | undefined
  /** Counts attempts, so that what belongs to an older socket is recognised and ignored. */
  #epoch = 0
  #timers: ReturnType<typeof setTimeout>[] = []
  #notBefore = 0
  #renewed = false
  #kick: CorePushes['kick'] | undefined
  #stopWatching: (() => void) | undefined

  constructor(options: Options) {
    this.#options = options
    this.#emitter = new Emitter(options.onError ?? ((error, event) => console.error(`rollcall: handler of ${event}`, error)))
    this.#heartbeat = new Heartbeat(options.heartbeat ?? 15_000, {
      // A refusal, such as 429, is a sign of life too.
      ping: (answered) => this.#request('ping', undefined, answered, ({ code }) => typeof code === 'number' && answered(), { timeout: 0 }),
      onRtt: (rtt) => this.#emitter.emit('$rtt', (this.rtt = rtt)),
      onDead: () => this.#ended({ code: 1006, reason: 'pingTimeout' }),
    })
    const line: Line = {
      isOpen: () => this.state === 'open',
      request: (event, data, resolve, reject) => this.#request(event, data, resolve as (data: unknown) => void, reject),
      guard: (event, run) => this.#emitter.guard(event, run),
    }
    this.#rooms = new Rooms(line)
    this.#subscriptions = new Subscriptions(line)
  }

  connect(): void {
    if (this.state === 'connecting' || this.state === 'open') return
    if (this.state === 'idle' || this.state === 'closed') {
      this.#backoff.reset()
      this.#renewed = false
      this.closed = null
    }
    this.#stopWatching ??= watch((visible) => this.#wake(visible))
    void this.#open(false)
  }

  close(): void {
    this.#drop(1000)
    this.#unwatch()
    this.closed = null
    this.#setState('idle')
  }

  on(event: string, handler: Handler): () => void {
    return this.#emitter.on(event, handler)
  }

  call(event: string, data?: unknown, options?: CallOptions): Promise<unknown> {
    return new Promise((resolve, reject) => this.#request(event, data, resolve, reject, options))
  }

  send(event: string, data?: unknown): boolean {
    if (this.state !== 'open' || this.#socket?.readyState !== OPEN) return false
    this.#socket.send(JSON.stringify({ event, data }))
    return true
  }

  join(room: string): Promise<void> {
    return this.#rooms.join(room)
  }

  quit(room: string): void {
    this.#rooms.quit(room)
  }

  subscribe(name: string, data: unknown, onReply: (data: never) => void, onError?: (error: RtError) => void) {
    return this.#subscriptions.add({ name, data, onReply, onError })
  }

  #request(
    event: string,
    data: unknown,
    resolve: (data: unknown) => void,
    reject: (error: RtError) => void,
    { timeout = this.#options.callTimeout ?? 10_000, signal }: CallOptions = {},
  ): void {
    if (signal?.aborted) return reject(new RtError('aborted'))
    if (this.state !== 'open' || this.#socket?.readyState !== OPEN) return reject(new RtError('disconnected'))
    const id = this.#calls.add({ resolve, reject, timeout, signal })
    this.#socket.send(JSON.stringify({ event, id, data }))
  }

  async #open(renew: boolean): Promise<void> {
    this.#drop(1000)
    const epoch = this.#epoch
    const current = () => epoch === this.#epoch
    this.#after(CONNECT_TIMEOUT, () => this.#ended({ code: 1006, reason: 'connectTimeout' }))
    this.#setState('connecting')
    try {
      const protocols = await this.#protocols(renew)
      if (!current()) return
      const Socket = this.#options.WebSocket ?? WebSocket
      const socket = new Socket(address(this.#options.url), protocols)
      this.#socket = socket
      socket.onmessage = (message) => current() && this.#receive(message.data)
      socket.onclose = (close) => current() && this.#ended(parseClose(close.code, close.reason))
    } catch (error) {
      if (current()) this.#failed(error)
    }
  }

  async #protocols(renew: boolean): Promise<string[]> {
    const { getTicket, getToken, getProtocols } = this.#options
    if (getProtocols) return getProtocols({ renew })
    if (getTicket) return ['rollcall.v1', `ticket.${await getTicket({ renew })}`]
    if (getToken) return ['rollcall.v1', `bearer.${await getToken({ renew })}`]
    return ['rollcall.v1']
  }

  /** No socket came of the attempt: without a right to one, or with an impossible address, trying again is no use. */
  #failed(error: unknown): void {
    const text = error instanceof Error ? error.message : String(error)
    const code = error instanceof RtError ? error.code : undefined
    if (code === 401 || code === 403) this.#finish({ code: 4000 + code, reason: 'unauthorized', text })
    else if (error instanceof SyntaxError) this.#finish({ code: 1002, reason: 'badAddress', text })
    else this.#ended({ code: 1006, reason: 'noCredential', text })
  }

  #receive(raw: unknown): void {
    const frame = parseFrame(raw)
    if (!frame) {
      this.badFrames++
      return
    }
    if (frame.id !== undefined) return this.#calls.settle(frame)
    if (frame.event === 'kick') this.#kick = frame.data as CorePushes['kick']
    if (frame.event === 'connected') this.#opened(frame.data as Connected)
    if (frame.code) this.#emitter.emit('$error', frame, frame)
    this.#emitter.emit(frame.event, frame.data, frame)
    this.#emitter.emit('*', frame.data, frame)
  }

  #opened(connected: Connected): void {
    this.#clearTimers()
    this.connected = connected
    this.#setState('open')
    this.#after(STABLE, () => {
      this.#backoff.reset()
      this.#renewed = false
    })
    this.#rooms.joinAgain()
    this.#subscriptions.askAgain()
    this.#heartbeat.beat()
    this.#emitter.emit('$open', connected)
  }

  #ended(info: CloseInfo): void {
    const kick = this.#kick
    this.#drop(CloseCode.stale)
    if (!isFinal(info.code)) return this.#retry(info.retryAfterMs)
    if (info.code === CloseCode.unauthorized && info.reason === 'tokenExpired' && !this.#renewed) {
      this.#renewed = true
      void this.#open(true)
      return
    }
    this.#finish({ ...info, text: kick?.reason ?? info.text, until: kick?.until ?? info.until })
  }

  #finish(info: CloseInfo): void {
    this.#drop(1000)
    this.#unwatch()
    this.closed = info
    this.#setState('closed')
    if (info.code === CloseCode.kicked || info.code === CloseCode.locked) this.#emitter.emit('$kicked', info)
    this.#emitter.emit('$closed', info)
  }

  #retry(retryAfterMs?: number): void {
    const announced = this.connected?.reconnect
    const min = this.#options.minDelay ?? announced?.minMs ?? 500
    const max = this.#options.maxDelay ?? announced?.maxMs ?? 20_000
    const jittered = this.#backoff.next(min, max)
    // What the server asks for is the least; a little on top, so that not all come in one instant.
    const delay = retryAfterMs === undefined ? jittered : retryAfterMs + Math.random() * min
    this.#notBefore = Date.now() + (retryAfterMs ?? 0)
    this.nextRetryAt = Date.now() + delay
    this.#after(delay, () => void this.#open(false))
    this.#setState(isOffline() ? 'offline' : 'retrying')
  }

  /** The network came back or the page is looked at again: no reason to wait any longer. */
  #wake(visible: boolean): void {
    if (this.state === 'open') return visible ? this.#heartbeat.beat() : this.#heartbeat.stop()
    if (this.nextRetryAt === null) return
    if (isOffline()) this.#setState('offline')
    else if (visible && Date.now() >= this.#notBefore) void this.#open(false)
    else this.#setState('retrying')
  }

  #after(delay: number, run: () => void): void {
    this.#timers.push(setTimeout(run, delay))
  }

  #clearTimers(): void {
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers = []
  }

  /** Forgets the socket and all that belongs to it. */
  #drop(code: number): void {
    this.#epoch++
    this.#clearTimers()
    this.#heartbeat.stop()
    this.nextRetryAt = this.rtt = null
    this.#kick = undefined
    const socket = this.#socket
    this.#socket = undefined
    socket?.close(code)
    this.#calls.rejectAll()
  }

  #unwatch(): void {
    this.#stopWatching?.()
    this.#stopWatching = undefined
  }

  #setState(state: State): void {
    if (this.state === state) return
    this.state = state
    this.#emitter.emit('$state', state)
  }
}

const isOffline = () => typeof navigator !== 'undefined' && navigator.onLine === false

function parseFrame(raw: unknown): Frame | undefined {
  try {
    const frame = JSON.parse(raw as string) as Frame | null
    return typeof frame?.event === 'string' ? frame : undefined
  } catch {
    return undefined
  }
}

function address(url: Options['url']): URL {
  const base = typeof location === 'undefined' ? undefined : location.href
  const resolved = new URL(typeof url === 'function' ? url() : url, base)
  resolved.protocol = resolved.protocol.replace('http', 'ws')
  return resolved
}

/** Calls back when the network or the page's visibility changes; does nothing outside a browser. */
function watch(changed: (visible: boolean) => void): () => void {
  if (typeof document === 'undefined') return () => {}
  const notify = () => changed(document.visibilityState !== 'hidden')
  addEventListener('online', notify)
  addEventListener('offline', notify)
  document.addEventListener('visibilitychange', notify)
  return () => {
    removeEventListener('online', notify)
    removeEventListener('offline', notify)
    document.removeEventListener('visibilitychange', notify)
  }
}

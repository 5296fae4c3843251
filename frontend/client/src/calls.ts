import type { Frame } from './protocol.js'

/** `code` is the server's number, or why there was no answer. */
export class RtError extends Error {
  readonly code: number | 'timeout' | 'disconnected' | 'aborted'
  /** What the server sent beside the code, such as `{retryAfterMs}` with 429. */
  readonly data?: unknown

  constructor(code: RtError['code'], message: string = String(code), data?: unknown) {
    super(message)
    this.name = 'RtError'
    this.code = code
    this.data = data
  }
}

export interface CallOptions {
  /** Milliseconds until the call is given up; 0 waits as long as the connection lives. */
  timeout?: number
  signal?: AbortSignal
}

interface Call extends CallOptions {
  resolve: (data: unknown) => void
  reject: (error: RtError) => void
}

/** Calls that wait for their reply, found by the id in the frame. */
export class Calls {
  readonly #open = new Map<number, (reply: Frame | RtError) => void>()
  #lastId = 0

  /** Registers a call and returns its id. Exactly one of `resolve` and `reject` is called, once. */
  add({ resolve, reject, timeout, signal }: Call): number {
    const id = ++this.#lastId
    const abort = () => settle(new RtError('aborted'))
    const timer = timeout ? setTimeout(() => settle(new RtError('timeout')), timeout) : undefined
    const settle = (reply: Frame | RtError) => {
      this.#open.delete(id)
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
      if (reply instanceof RtError) reject(reply)
      else if (reply.code) reject(new RtError(reply.code, reply.errorMsg, reply.data))
      else resolve(reply.data)
    }
    signal?.addEventListener('abort', abort)
    this.#open.set(id, settle)
    return id
  }

  settle(reply: Frame): void {
    this.#open.get(reply.id as number)?.(reply)
  }

  /** Nothing is sent again after a disconnect: the server may have done it already. */
  rejectAll(): void {
    for (const settle of [...this.#open.values()]) settle(new RtError('disconnected'))
  }
}

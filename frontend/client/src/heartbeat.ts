/** A ping unanswered for so long, while the page is visible, means that the connection is gone. */
const PATIENCE = 10_000

const hidden = () => typeof document !== 'undefined' && document.visibilityState === 'hidden'

export interface HeartbeatHooks {
  /** Sends a ping and calls back with its answer. */
  ping: (answered: () => void) => void
  onRtt: (milliseconds: number) => void
  onDead: () => void
}

/**
 * Judges the connection by pings of our own. A hidden page neither pings nor judges: its timers are throttled,
 * and the browser answers the server's pings for it.
 */
export class Heartbeat {
  #timer?: ReturnType<typeof setTimeout>
  #deadline?: ReturnType<typeof setTimeout>
  readonly #interval: number
  readonly #hooks: HeartbeatHooks

  constructor(interval: number, hooks: HeartbeatHooks) {
    this.#interval = interval
    this.#hooks = hooks
  }

  /** Pings now, unless a ping is under way; also the way to wake up after the page was hidden. */
  beat(): void {
    if (hidden()) return this.stop()
    if (this.#deadline !== undefined) return
    clearTimeout(this.#timer)
    const sent = performance.now()
    const deadline = setTimeout(() => {
      this.stop()
      this.#hooks.onDead()
    }, PATIENCE)
    this.#deadline = deadline
    this.#hooks.ping(() => {
      if (this.#deadline !== deadline) return
      clearTimeout(deadline)
      this.#deadline = undefined
      this.#timer = setTimeout(() => this.beat(), this.#interval)
      this.#hooks.onRtt(Math.round(performance.now() - sent))
    })
  }

  stop(): void {
    clearTimeout(this.#timer)
    clearTimeout(this.#deadline)
    this.#timer = this.#deadline = undefined
  }
}

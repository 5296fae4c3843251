export type Handler = (data: never, frame: never) => void

/** Many handlers per event. One that throws is reported and disturbs no other. */
export class Emitter {
  readonly #handlers = new Map<string, Set<Handler>>()
  readonly #report: (error: unknown, event: string) => void

  constructor(report: (error: unknown, event: string) => void) {
    this.#report = report
  }

  on(event: string, handler: Handler): () => void {
    // A wrapper of its own, so that one function registered twice is called twice and removed once.
    const own: Handler = (data, frame) => handler(data, frame)
    const handlers = this.#handlers.get(event) ?? new Set()
    this.#handlers.set(event, handlers.add(own))
    return () => {
      handlers.delete(own)
      if (!handlers.size && this.#handlers.get(event) === handlers) this.#handlers.delete(event)
    }
  }

  emit(event: string, data?: unknown, frame?: unknown): void {
    for (const handler of [...(this.#handlers.get(event) ?? [])]) {
      this.guard(event, () => handler(data as never, frame as never))
    }
  }

  /** Runs somebody else's code; what it throws goes to the report. */
  guard(event: string, run: () => void): void {
    try {
      run()
    } catch (error) {
      this.#report(error, event)
    }
  }
}

/** Full jitter: each wait is uniform between `min` and a ceiling that doubles up to `max` (milliseconds). */
export class Backoff {
  #failures = 0

  /** The ceiling of the first wait is twice `min`. */
  next(min: number, max: number): number {
    const ceiling = Math.min(max, min * 2 ** ++this.#failures)
    return min + Math.random() * Math.max(0, ceiling - min)
  }

  reset(): void {
    this.#failures = 0
  }
}

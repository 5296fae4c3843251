/** The problem body of RFC 9457, as far as this page reads it. */
export interface Problem {
  title?: string
  /** A sentence for people. */
  detail?: string
  /** A stable word, such as `token_expired`. */
  code?: string
  requestId?: string
  /** The field that does not fit, with 422. */
  field?: string
  /** What is wrong with lines of a file. */
  lines?: { line: number; field?: string; detail: string }[]
  /** RFC 3339; until when a lockout lasts. */
  until?: string
}

/** A failed request: the server's problem, or `network` when there was no answer at all. */
export class ApiError extends Error {
  constructor(
    /** The HTTP status; 0 when there was no answer. */
    readonly status: number,
    readonly code: string,
    message: string,
    readonly problem: Problem = {},
    /** Seconds, from `Retry-After`. */
    readonly retryAfter?: number,
  ) {
    super(message)
    this.name = 'ApiError'
  }

  static network(cause: unknown): ApiError {
    return new ApiError(0, 'network', cause instanceof Error ? cause.message : String(cause))
  }

  /** `body` is the parsed answer; a proxy's HTML page becomes an error without a problem. */
  static from(response: Response, body: unknown): ApiError {
    const problem: Problem = body && typeof body === 'object' ? body : {}
    const retryAfter = Number(response.headers.get('Retry-After')) || undefined
    const message = problem.detail ?? problem.title ?? `HTTP ${response.status}`
    return new ApiError(response.status, problem.code ?? `http_${response.status}`, message, problem, retryAfter)
  }
}

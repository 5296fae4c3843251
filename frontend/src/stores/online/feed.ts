// How the live list stays right: subscribe, buffer, read the snapshot, apply what is newer; again after a gap or a
// reconnect (protocol section 4). The feed knows neither Vue nor the socket: both come in as functions.
import { applyDiff, countRows, isWhole, noCounts, oneNode, stateOf, type ClientRow, type Counts, type Nodes, type OnlineDiff, type OnlineState, type RowsDiff } from './rows'

export interface Snapshot {
  /** Undefined when another node than the socket's answered: its revisions are none of this stream. */
  rev: number | undefined
  rows: ClientRow[]
  /** Clients that match in all; more than `rows` means that the server keeps the rest to itself. */
  total: number
  nodes: Nodes
}

export interface FeedSource {
  subscribe(): Promise<{ rev: number; counts: Counts }>
  snapshot(signal: AbortSignal): Promise<Snapshot>
}

/** `paged`: too many clients for a live list; read pages, the counts stay live. */
export type FeedMode = 'waiting' | 'loading' | 'live' | 'paged' | 'failed'

export interface FeedListener {
  /** The mode or everything in the list may have changed. */
  reset(): void
  /** A difference was applied to `state`. */
  applied(diff: RowsDiff, before: ReadonlyMap<string, ClientRow>): void
  counted(): void
}

const retryMs = [0, 1_000, 2_000, 5_000, 15_000]
/** Differences held back while the snapshot is under way; more than this and the subscription starts anew. */
const bufferLimit = 2_000
/** A list that was right for this long starts its retries from the beginning. */
const calmMs = 5_000

export class OnlineFeed {
  mode: FeedMode = 'waiting'
  state: OnlineState = stateOf(0, [], noCounts)
  error: unknown = null
  /** Of how many nodes the list tells, as far as was heard last. */
  nodes: Nodes = oneNode
  /** Whether the snapshot was of every node; what was missing from it comes with no difference. */
  private whole = true
  private buffer: OnlineDiff[] = []
  private attempt = 0
  private loadedAt = 0
  private timer: ReturnType<typeof setTimeout> | undefined
  private aborter: AbortController | undefined

  constructor(private readonly source: FeedSource, private readonly listener: FeedListener) {}

  /** The socket opened, for the first time or again. The old rows stay visible until the new ones are there. */
  opened() {
    this.attempt = 0
    void this.load()
  }

  closed() {
    this.cancel()
    this.mode = this.mode === 'live' || this.mode === 'paged' ? this.mode : 'waiting'
  }

  /** Ends everything under way; the feed can be opened again. */
  stop() {
    this.cancel()
    this.mode = 'waiting'
    this.state = stateOf(0, [], noCounts)
    this.nodes = oneNode
  }

  receive(diff: OnlineDiff) {
    if (this.aborter) {
      if (this.buffer.push(diff) > bufferLimit) this.again()
      return
    }
    // With a reload due, whatever comes is in the next snapshot.
    if (this.timer || (this.mode !== 'live' && this.mode !== 'paged')) return
    this.apply(diff)
  }

  private async load() {
    this.cancel()
    const aborter = new AbortController()
    this.aborter = aborter
    if (this.mode !== 'live' && this.mode !== 'paged') this.mode = 'loading'
    this.listener.reset()
    try {
      const subscribed = await this.source.subscribe()
      if (aborter.signal.aborted) return
      const { rev, rows, total, nodes } = await this.source.snapshot(aborter.signal)
      if (aborter.signal.aborted) return
      const whole = total <= rows.length
      // Every difference since the subscription may come on top of another node's answer: each is the final state of its clients.
      this.state = stateOf(rev ?? subscribed.rev, rows, whole ? countRows(rows) : subscribed.counts)
      this.nodes = nodes
      this.whole = isWhole(nodes)
      this.mode = whole ? 'live' : 'paged'
      this.error = null
    } catch (error) {
      if (aborter.signal.aborted) return
      this.aborter = undefined
      this.error = error
      if (this.mode === 'loading') this.mode = 'failed'
      this.listener.reset()
      this.again()
      return
    }
    this.aborter = undefined
    this.loadedAt = Date.now()
    const buffered = this.buffer
    this.buffer = []
    this.listener.reset()
    for (const diff of buffered) {
      if (this.aborter || this.timer) return
      this.apply(diff)
    }
  }

  private apply(diff: OnlineDiff) {
    const before = diff.mode === 'counts' ? this.state.rows : touched(this.state.rows, diff)
    const applied = applyDiff(this.state, diff)
    if (applied === 'gap') return this.again()
    if (applied === 'stale') return
    this.nodes = diff.nodes ?? oneNode
    // The missing nodes are there again, with clients that the snapshot did not have.
    if (!this.whole && isWhole(this.nodes)) return this.again()
    if (Date.now() - this.loadedAt > calmMs) this.attempt = 0
    if (applied === 'counts') {
      const first = this.mode !== 'paged'
      this.mode = 'paged'
      if (first) this.listener.reset()
      else this.listener.counted()
      return
    }
    // The crowd has thinned out and rows flow again, but the list holds only what pages showed.
    if (this.mode === 'paged') return this.again()
    this.listener.applied(diff as RowsDiff, before)
  }

  private again() {
    this.cancel()
    const wait = retryMs[Math.min(this.attempt, retryMs.length - 1)]!
    this.attempt += 1
    this.timer = setTimeout(() => void this.load(), wait)
  }

  private cancel() {
    this.aborter?.abort()
    this.aborter = undefined
    clearTimeout(this.timer)
    this.timer = undefined
    this.buffer = []
  }
}

function touched(rows: Map<string, ClientRow>, diff: RowsDiff): Map<string, ClientRow> {
  const before = new Map<string, ClientRow>()
  for (const { id } of [...diff.changed, ...diff.joined, ...diff.left]) {
    const row = rows.get(id)
    if (row) before.set(id, row)
  }
  return before
}

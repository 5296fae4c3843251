import { describe, expect, it } from 'vitest'
import { applyDiff, countRows, noCounts, stateOf, type ClientRow, type RowsDiff } from '../src/stores/online/rows'
import { client, random } from './online-fixtures'

describe('the live list', () => {
  it('built from a snapshot and differences equals the truth, however the churn goes', () => {
    for (let seed = 1; seed <= 60; seed += 1) {
      const dice = random(seed)
      const server = new ChurningServer(dice)
      for (let i = 0; i < 20; i += 1) server.batch()

      // The page subscribes, buffers, and its snapshot arrives some batches later.
      const buffered: RowsDiff[] = []
      for (let i = dice(6); i > 0; i -= 1) buffered.push(server.batch())
      const list = stateOf(server.rev, [...server.rows.values()], server.counts())
      for (let i = dice(6); i > 0; i -= 1) buffered.push(server.batch())

      for (const diff of buffered) expect(applyDiff(list, diff)).not.toBe('gap')
      for (let i = 0; i < 60; i += 1) expect(applyDiff(list, server.batch())).toBe('applied')
      expect(new Map([...list.rows].sort())).toEqual(new Map([...server.rows].sort()))
      expect(list.counts).toEqual(countRows(server.rows.values()))
    }
  })

  it('is right when a difference began before the snapshot and ended after it', () => {
    const list = stateOf(7, [client({ id: 'a' }), client({ id: 'b' })], noCounts)
    const applied = applyDiff(list, {
      rev: 9, prev: 5, counts: noCounts,
      joined: [client({ id: 'a', app: 'new' }), client({ id: 'c' })], left: [{ id: 'gone', cause: 'closed' }, { id: 'b', cause: 'lost' }], changed: [],
    })
    expect(applied).toBe('applied')
    expect([...list.rows.keys()]).toEqual(['a', 'c'])
    expect(list.rows.get('a')!.app).toBe('new')
  })

  it('ignores what the snapshot already has', () => {
    const list = stateOf(9, [client({ id: 'a' })], noCounts)
    expect(applyDiff(list, { rev: 9, prev: 8, joined: [], left: [{ id: 'a', cause: 'closed' }], changed: [], counts: noCounts })).toBe('stale')
    expect(list.rows.size).toBe(1)
  })

  it('notices a missing difference and touches nothing', () => {
    const list = stateOf(9, [client({ id: 'a' })], noCounts)
    expect(applyDiff(list, { rev: 12, prev: 11, joined: [], left: [{ id: 'a', cause: 'closed' }], changed: [], counts: noCounts })).toBe('gap')
    expect(list.rows.size).toBe(1)
    expect(list.rev).toBe(9)
  })

  it('takes the numbers when the server sends nothing else', () => {
    const list = stateOf(9, [], noCounts)
    expect(applyDiff(list, { mode: 'counts', rev: 10, prev: 9, counts: { ...noCounts, clients: 20_000 } })).toBe('counts')
    expect(list.counts.clients).toBe(20_000)
  })

  it('replaces the object of a changed row, so that a view sees the change', () => {
    const before = client({ id: 'a', rttMs: 1 })
    const list = stateOf(1, [before], noCounts)
    applyDiff(list, { rev: 2, prev: 1, joined: [], left: [], changed: [{ id: 'a', rttMs: 2 }, { id: 'unknown', rttMs: 3 }], counts: noCounts })
    expect(list.rows.get('a')).not.toBe(before)
    expect(list.rows.get('a')!.rttMs).toBe(2)
    expect(before.rttMs).toBe(1)
    expect(list.rows.size).toBe(1)
  })
})

/** Joins, leaves and changes at random and describes them as the server does: the final state per client, once. */
class ChurningServer {
  rev = 0
  rows = new Map<string, ClientRow>()
  private next = 0

  constructor(private readonly dice: (below: number) => number) {}

  counts() {
    return countRows(this.rows.values())
  }

  batch(): RowsDiff {
    const prev = this.rev
    const before = new Map(this.rows)
    for (let i = this.dice(12); i >= 0; i -= 1) this.step()
    const joined = [...this.rows.values()].filter((row) => !before.has(row.id))
    const left = [...before.keys()].filter((id) => !this.rows.has(id)).map((id) => ({ id, cause: 'closed' }))
    const changed = [...this.rows.values()]
      .filter((row) => before.has(row.id) && before.get(row.id) !== row)
      .map(({ id, rttMs, rooms }) => ({ id, rttMs, rooms }))
    return { rev: this.rev, prev, joined, left, changed, counts: this.counts() }
  }

  private step() {
    this.rev += 1
    const ids = [...this.rows.keys()]
    const one = ids[this.dice(ids.length || 1)]
    const what = this.dice(3)
    if (what === 0 || !one) {
      const id = `c${this.next++}`
      this.rows.set(id, client({ id, userId: String(this.dice(9)), sessionId: `s${this.dice(20)}`, roles: [] }))
    } else if (what === 1) {
      this.rows.delete(one)
    } else {
      this.rows.set(one, { ...this.rows.get(one)!, rttMs: this.dice(99), rooms: [`room${this.dice(5)}`] })
    }
  }
}

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { OnlineFeed, type Snapshot } from '../src/stores/online/feed'
import { noCounts, oneNode, type ClientRow, type OnlineDiff } from '../src/stores/online/rows'
import { client } from './online-fixtures'

describe('the feed', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  it('subscribes before it reads, and applies what came meanwhile', async () => {
    const { feed, steps, answer } = setup()
    feed.opened()
    await settle()
    expect(steps).toEqual(['subscribe', 'snapshot'])
    feed.receive(diff(2, 1, [client({ id: 'b' })]))
    feed.receive(diff(3, 2, [client({ id: 'c' })]))
    answer({ rev: 2, rows: [client({ id: 'a' }), client({ id: 'b' })], total: 2, nodes: oneNode })
    await settle()
    expect(ids(feed)).toEqual(['a', 'b', 'c'])
    expect(feed.mode).toBe('live')
  })

  it('applies everything since the subscription to a snapshot of another node', async () => {
    const { feed, steps, answer } = setup()
    feed.opened()
    await settle()
    feed.receive(diff(1, 0, [client({ id: 'b' })]))
    answer({ rev: undefined, rows: [client({ id: 'a' })], total: 1, nodes: oneNode })
    await settle()
    feed.receive(diff(2, 1, [client({ id: 'c' })]))
    expect(ids(feed)).toEqual(['a', 'b', 'c'])
    expect(steps).toEqual(['subscribe', 'snapshot'])
  })

  it('reads again when nodes are there that the snapshot lacked', async () => {
    const { feed, steps, answer } = setup()
    feed.opened()
    await settle()
    answer({ rev: 1, rows: [], total: 0, nodes: { answered: 1, expected: 2 } })
    await settle()
    feed.receive({ ...diff(2, 1, []), nodes: { answered: 1, expected: 2 } })
    expect(feed.mode).toBe('live')
    expect(steps).toHaveLength(2)
    feed.receive({ ...diff(3, 2, []), nodes: { answered: 2, expected: 2 } })
    await settle()
    expect(steps).toHaveLength(4)
  })

  it('subscribes again after a gap, and keeps the old rows on the screen meanwhile', async () => {
    const { feed, steps, answer } = await live()
    feed.receive(diff(9, 8, []))
    feed.receive(diff(10, 9, []))
    expect(ids(feed)).toEqual(['a'])
    await settle()
    expect(steps).toEqual(['subscribe', 'snapshot', 'subscribe', 'snapshot'])
    answer({ rev: 10, rows: [client({ id: 'z' })], total: 1, nodes: oneNode })
    await settle()
    expect(ids(feed)).toEqual(['z'])
  })

  it('takes a new snapshot after a reconnect and forgets the answer of the old one', async () => {
    const { feed, answers } = setup()
    feed.opened()
    await settle()
    feed.closed()
    feed.opened()
    await settle()
    answers[1]!({ rev: 5, rows: [client({ id: 'new' })], total: 1, nodes: oneNode })
    answers[0]!({ rev: 50, rows: [client({ id: 'old' })], total: 1, nodes: oneNode })
    await settle()
    expect(ids(feed)).toEqual(['new'])
    expect(feed.state.rev).toBe(5)
  })

  it('reads pages when the list is too long, and rows again when it is short enough', async () => {
    const { feed, answer, events } = await live()
    feed.receive({ mode: 'counts', rev: 2, prev: 1, counts: { ...noCounts, clients: 10_001 } })
    expect(feed.mode).toBe('paged')
    feed.receive({ mode: 'counts', rev: 3, prev: 2, counts: { ...noCounts, clients: 10_002 } })
    expect(events.at(-1)).toBe('counted')
    expect(feed.state.counts.clients).toBe(10_002)
    feed.receive(diff(4, 3, []))
    await settle()
    answer({ rev: 4, rows: [client({ id: 'a' })], total: 1, nodes: oneNode })
    await settle()
    expect(feed.mode).toBe('live')
  })

  it('says that it failed, tries again, and later', async () => {
    const { feed, steps, fail } = setup()
    feed.opened()
    await settle()
    fail(new Error('503'))
    await vi.advanceTimersByTimeAsync(0)
    expect(steps.filter((step) => step === 'snapshot')).toHaveLength(2)
    fail(new Error('503'))
    await vi.advanceTimersByTimeAsync(0)
    expect(feed.mode).toBe('failed')
    expect(feed.error).toEqual(new Error('503'))
    expect(steps.filter((step) => step === 'snapshot')).toHaveLength(2)
    await vi.advanceTimersByTimeAsync(1_000)
    expect(steps.filter((step) => step === 'snapshot')).toHaveLength(3)
  })

  it('leaves no timer behind when it stops', async () => {
    const { feed, fail } = setup()
    feed.opened()
    await settle()
    fail(new Error('gone'))
    await Promise.resolve()
    feed.stop()
    await settle()
    expect(vi.getTimerCount()).toBe(0)
  })
})

function setup() {
  const steps: string[] = []
  const events: string[] = []
  const answers: ((snapshot: Snapshot) => void)[] = []
  const fails: ((error: Error) => void)[] = []
  const feed = new OnlineFeed(
    {
      subscribe: async () => (steps.push('subscribe'), { rev: 0, counts: noCounts }),
      snapshot: () => (steps.push('snapshot'), new Promise((resolve, reject) => (answers.push(resolve), fails.push(reject)))),
    },
    { reset: () => events.push('reset'), applied: () => events.push('applied'), counted: () => events.push('counted') },
  )
  return { feed, steps, events, answers, answer: (snapshot: Snapshot) => answers.at(-1)!(snapshot), fail: (error: Error) => fails.at(-1)!(error) }
}

async function live() {
  const all = setup()
  all.feed.opened()
  await settle()
  all.answer({ rev: 1, rows: [client({ id: 'a' })], total: 1, nodes: oneNode })
  await settle()
  return all
}

const settle = () => vi.advanceTimersByTimeAsync(0)
const ids = (feed: OnlineFeed) => [...feed.state.rows.keys()]

function diff(rev: number, prev: number, joined: ClientRow[]): OnlineDiff {
  return { rev, prev, joined, left: [], changed: [], counts: noCounts }
}

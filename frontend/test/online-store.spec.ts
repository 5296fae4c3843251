import { createPinia, setActivePinia } from 'pinia'
import { nextTick } from 'vue'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { ClientRow, OnlineDiff, RowsDiff } from '../src/stores/online/rows'
import { client } from './online-fixtures'

const wire = vi.hoisted(() => ({
  handlers: new Map<string, (data: unknown) => void>(),
  calls: [] as string[],
  rows: [] as unknown[],
  total: undefined as number | undefined,
  queries: [] as Record<string, unknown>[],
  node: 'a1',
  nodes: { answered: 1, expected: 1 },
}))

vi.mock('@/realtime', () => ({
  rt: {
    state: 'open',
    connected: { node: 'a1' },
    on: (event: string, handler: (data: unknown) => void) => (wire.handlers.set(event, handler), () => wire.handlers.delete(event)),
    call: async (event: string) => (wire.calls.push(event), { rev: 1, counts: { clients: 9, sessions: 9, users: 9, byRole: {}, byApp: {} } }),
  },
}))
vi.mock('@/stores/online/api', () => ({
  fetchClients: async (query: Record<string, unknown>) => {
    wire.queries.push(query)
    return { list: wire.rows, totalCount: wire.total ?? wire.rows.length, page: 1, pageSize: 200, pageCount: 3, rev: 1, asOf: new Date().toISOString(), complete: true, node: wire.node, nodes: wire.nodes }
  },
}))

const { useOnlineStore } = await import('../src/stores/online')

describe('the online store', () => {
  beforeEach(() => {
    vi.useFakeTimers()
    setActivePinia(createPinia())
    Object.assign(wire, { calls: [], rows: ['a', 'b', 'c'].map((id) => client({ id, username: id })), total: undefined, queries: [], node: 'a1', nodes: { answered: 1, expected: 1 } })
  })
  afterEach(() => {
    useOnlineStore().stop()
    expect(vi.getTimerCount()).toBe(0)
    vi.useRealTimers()
  })

  it('shows arrivals and departures as they come', async () => {
    const store = await started()
    expect(ids(store)).toEqual(['a', 'b', 'c'])
    push({ rev: 2, prev: 1, joined: [client({ id: 'd', connectedAt: '2025-01-01T00:00:00Z' })], left: [{ id: 'b', cause: 'closed' }] })
    await vi.advanceTimersByTimeAsync(300)
    expect(ids(store)).toEqual(['d', 'a', 'c'])
    expect(store.flow).toEqual({ joined: 1, left: 1 })
    expect(store.flash('d')).toBe('joined')
    expect(store.counts.clients).toBe(3)
    await vi.advanceTimersByTimeAsync(65_000)
    expect(store.flow).toEqual({ joined: 0, left: 0 })
    expect(store.flash('d')).toBeUndefined()
  })

  it('says of how many nodes the list is, and reads it again when all are there', async () => {
    wire.nodes = { answered: 2, expected: 3 }
    const store = await started()
    expect(store.nodes).toEqual({ answered: 2, expected: 3 })
    const reads = wire.queries.length
    wire.nodes = { answered: 3, expected: 3 }
    push({ rev: 2, prev: 1, nodes: { answered: 3, expected: 3 } })
    await vi.advanceTimersByTimeAsync(300)
    expect(wire.queries).toHaveLength(reads + 1)
    expect(store.nodes).toEqual({ answered: 3, expected: 3 })
    push({ rev: 2, prev: 1, nodes: { answered: 2, expected: 3 } })
    await vi.advanceTimersByTimeAsync(300)
    expect(store.nodes).toEqual({ answered: 2, expected: 3 })
  })

  it('counts its revisions by the node of the socket, whoever answers the list', async () => {
    wire.node = 'b2'
    const store = await started()
    // The other node's revision is 1; this stream's next is 2 after the 1 of the subscription.
    push({ rev: 2, prev: 1, joined: [client({ id: 'd', connectedAt: '2025-01-01T00:00:00Z' })] })
    await vi.advanceTimersByTimeAsync(300)
    expect(ids(store)).toEqual(['d', 'a', 'b', 'c'])
  })

  it('holds every row in its place while the pointer is over the list', async () => {
    const store = await started()
    store.holds.pointer = true
    push({ rev: 2, prev: 1, joined: [client({ id: 'd', connectedAt: '2025-01-01T00:00:00Z' })], left: [{ id: 'b', cause: 'closed' }], changed: [{ id: 'c', rttMs: 77 }] })
    await vi.advanceTimersByTimeAsync(300)
    expect(ids(store)).toEqual(['a', 'b', 'c'])
    expect(store.view.shown.map((entry) => entry.gone)).toEqual([false, true, false])
    expect(store.view.shown[2]!.row.rttMs).toBe(77)
    expect(store.view.pending).toBe(2)
    store.holds.pointer = false
    await nextTick()
    expect(ids(store)).toEqual(['d', 'a', 'c'])
    expect(store.view.pending).toBe(0)
  })

  it('obeys a filter or a sort at once, frozen or not', async () => {
    const store = await started()
    store.holds.paused = true
    store.filter.sort = '-username'
    await nextTick()
    expect(ids(store)).toEqual(['c', 'b', 'a'])
    store.filter.q = 'b'
    await nextTick()
    expect(ids(store)).toEqual(['b'])
    expect(store.matching).toBe(1)
  })

  it('forgets a chosen client that has left', async () => {
    const store = await started()
    store.select(['a', 'b'], true)
    push({ rev: 2, prev: 1, left: [{ id: 'b', cause: 'closed' }] })
    await vi.advanceTimersByTimeAsync(300)
    expect([...store.selected]).toEqual(['a'])
  })

  it('reads pages at most once a second when there are too many clients', async () => {
    wire.total = 25_000
    const store = await started()
    await vi.advanceTimersByTimeAsync(0)
    expect(store.mode).toBe('paged')
    expect(store.matching).toBe(25_000)
    const before = wire.queries.length
    for (let rev = 2; rev < 22; rev += 1) {
      wire.handlers.get('online/diff')!({ mode: 'counts', rev, prev: rev - 1, counts: { ...store.counts, clients: 25_000 + rev } } satisfies OnlineDiff)
      await vi.advanceTimersByTimeAsync(250)
    }
    expect(wire.queries.length - before).toBeLessThanOrEqual(6)
    expect(store.counts.clients).toBe(25_021)
    store.page = 2
    await nextTick()
    expect(wire.queries.at(-1)).toMatchObject({ page: 2, sort: '-connectedAt' })
  })

  it('says goodbye when the page closes', async () => {
    const store = await started()
    store.stop()
    expect(wire.calls).toEqual(['online/subscribe', 'online/unsubscribe'])
    expect(wire.handlers.size).toBe(0)
  })
})

async function started() {
  const store = useOnlineStore()
  store.start()
  await vi.advanceTimersByTimeAsync(0)
  return store
}

const ids = (store: ReturnType<typeof useOnlineStore>) => store.view.shown.map((entry) => entry.row.id)

function push(diff: Partial<RowsDiff> & { rev: number; prev: number }) {
  const rows = wire.rows as ClientRow[]
  wire.handlers.get('online/diff')!({ joined: [], left: [], changed: [], counts: { clients: rows.length, sessions: 1, users: 1, byRole: {}, byApp: {} }, ...diff })
}

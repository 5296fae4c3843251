// Everybody who is online, as the page shows it: the feed's list, filtered, ordered and, while somebody is about to
// press a button, frozen. Rows live in a plain Map; Vue sees one new array per batch (10,000 reactive rows are slow).
import { defineStore } from 'pinia'
import { computed, reactive, ref, shallowRef, watch } from 'vue'
import { noteServerTime, serverNow } from '@/composables/useNow'
import { rt } from '@/realtime'
import type { ClientQuery } from '@/api/types'
import { fetchClients } from './online/api'
import { OnlineFeed, type FeedMode } from './online/feed'
import { arrange, choices, defaultSort, emptyFilter, family, filterToApi, type Filter } from './online/filter'
import { emptyView, isFrozen, nextView, type Holds, type View } from './online/freeze'
import { noCounts, oneNode, type ClientRow, type Nodes, type RowsDiff } from './online/rows'

/** Rows of one page when the list is too long to be live; the server's own bound is 500. */
export const pageSize = 200
const flashMs = 1_200
const flowWindowMs = 60_000
/** Beyond this many rows the list is drawn once a second instead of with every batch. */
const manyRows = 2_000
/** What moves all the time is not worth a flash. */
const quiet = new Set(['id', 'heartbeatTime', 'lastSeenAt', 'rttMs', 'framesIn', 'framesOut', 'queueBytes'])

export const useOnlineStore = defineStore('online', () => {
  const filter = ref<Filter>(emptyFilter())
  const view = shallowRef<View>(emptyView)
  const counts = shallowRef(noCounts)
  const mode = ref<FeedMode>('waiting')
  const error = shallowRef<unknown>(null)
  /** Of how many nodes the list is. */
  const nodes = shallowRef<Nodes>(oneNode)
  /** How many clients match the filter; in paged mode, on all pages. */
  const matching = ref(0)
  const page = ref(1)
  const flow = shallowRef({ joined: 0, left: 0 })
  const selected = shallowRef<ReadonlySet<string>>(new Set())
  const options = shallowRef<Record<'role' | 'room' | 'app' | 'browser' | 'os' | 'device', string[]>>({ role: [], room: [], app: [], browser: [], os: [], device: [] })
  const holds = reactive<Holds>({ pointer: false, focus: false, scrolled: false, paused: false })
  const frozen = computed(() => isFrozen(holds))

  const marks = new Map<string, { kind: 'joined' | 'changed'; until: number }>()
  let flowLog: { at: number; joined: number; left: number }[] = []
  let news = { joined: 0, left: 0 }
  let pageRows = new Map<string, ClientRow>()
  let stops: (() => void)[] = []
  let drawTimer: ReturnType<typeof setTimeout> | undefined
  let drawnAt = 0
  let pageReadAt = 0
  let pageReader: AbortController | undefined

  const feed = new OnlineFeed(
    {
      subscribe: () => rt.call('online/subscribe', {}),
      async snapshot(signal) {
        const answer = await fetchClients({ all: true }, signal)
        noteServerTime(answer.asOf)
        // Behind a load balancer another node than the socket's may answer.
        const rev = answer.node === rt.connected?.node ? answer.rev : undefined
        return { rev, rows: answer.list, total: answer.totalCount, nodes: answer.nodes }
      },
    },
    {
      reset() {
        marks.clear()
        mode.value = feed.mode
        error.value = feed.error
        draw()
      },
      applied(diff, before) {
        remember(diff, before)
        schedule()
      },
      counted: schedule,
    },
  )

  /** Begins to listen; the page calls it when it opens. */
  function start() {
    if (stops.length) return
    const ticker = setInterval(schedule, 5_000)
    stops = [
      rt.on('$open', () => feed.opened()),
      rt.on('$state', (state) => state !== 'open' && feed.closed()),
      rt.on('online/diff', (diff) => feed.receive(diff)),
      watch([() => JSON.stringify(filter.value), page], ([now, at], [before, from]) => {
        // Another filter has other pages; a link or "back" that brings both a filter and a page keeps its page.
        if (now !== before && at === from) page.value = 1
        draw(true)
      }),
      watch(frozen, (on) => on || draw()),
      () => clearInterval(ticker),
    ]
    if (rt.state === 'open') feed.opened()
  }

  function stop() {
    for (const end of stops) end()
    stops = []
    feed.stop()
    pageReader?.abort()
    clearTimeout(drawTimer)
    drawTimer = undefined
    // Refused when the socket is gone, and then there is nothing to end.
    if (rt.state === 'open') rt.call('online/unsubscribe', {}).catch(() => {})
    view.value = emptyView
    selected.value = new Set()
    mode.value = 'waiting'
    marks.clear()
    flowLog = []
    Object.assign(holds, { pointer: false, focus: false, scrolled: false, paused: false })
  }

  function remember(diff: RowsDiff, before: ReadonlyMap<string, ClientRow>) {
    const until = Date.now() + flashMs
    for (const row of diff.joined) if (!before.has(row.id)) marks.set(row.id, { kind: 'joined', until })
    for (const part of diff.changed) if (notable(part, before.get(part.id))) marks.set(part.id, { kind: 'changed', until })
    if (diff.joined.length || diff.left.length) flowLog.push({ at: Date.now(), joined: diff.joined.length, left: diff.left.length })
    news = { joined: news.joined + diff.joined.length, left: news.left + diff.left.length }
  }

  /** Arrivals and departures since the last call. */
  function takeNews() {
    const taken = news
    news = { joined: 0, left: 0 }
    return taken
  }

  function schedule() {
    if (drawTimer) return
    const every = feed.state.rows.size > manyRows || mode.value === 'paged' ? 1_000 : 100
    drawTimer = setTimeout(draw, Math.max(0, drawnAt + every - Date.now()))
  }

  /** `again`: whoever filters, sorts or turns the page wants to see the outcome, frozen or not. */
  function draw(again = false) {
    clearTimeout(drawTimer)
    drawTimer = undefined
    drawnAt = Date.now()
    mode.value = feed.mode
    counts.value = feed.state.counts
    nodes.value = feed.nodes
    measureFlow()
    forget()
    if (mode.value === 'paged') {
      if (again || !frozen.value) void readPage(again)
      return
    }
    const rows = feed.state.rows
    const arranged = arrange(rows.values(), filter.value, serverNow())
    matching.value = arranged.length
    view.value = nextView(view.value, arranged, rows, frozen.value && !again && view.value.shown.length > 0)
  }

  async function readPage(atOnce: boolean) {
    if (!atOnce && (pageReader || Date.now() - pageReadAt < 1_000)) return
    pageReader?.abort()
    const reader = (pageReader = new AbortController())
    pageReadAt = Date.now()
    try {
      const answer = await fetchClients(pageQuery(page.value), reader.signal)
      if (reader.signal.aborted) return
      pageRows = new Map(answer.list.map((row) => [row.id, row]))
      matching.value = answer.totalCount
      error.value = null
      view.value = nextView(emptyView, answer.list, pageRows, false)
    } catch (cause) {
      if (!reader.signal.aborted) error.value = cause
    } finally {
      if (pageReader === reader) pageReader = undefined
    }
  }

  function pageQuery(number: number): ClientQuery {
    return { sort: defaultSort, ...filterToApi(filter.value), page: number, pageSize }
  }

  /** Every client that matches, for exports and "select all"; reads all pages when the list is not live. */
  async function allMatching(): Promise<ClientRow[]> {
    if (mode.value !== 'paged') return arrange(feed.state.rows.values(), filter.value, serverNow())
    const rows: ClientRow[] = []
    for (let number = 1; ; number += 1) {
      const answer = await fetchClients({ ...pageQuery(number), pageSize: 500 })
      rows.push(...answer.list)
      if (number >= answer.pageCount) return rows
    }
  }

  function measureFlow() {
    const since = Date.now() - flowWindowMs
    flowLog = flowLog.filter((entry) => entry.at > since)
    const joined = flowLog.reduce((sum, entry) => sum + entry.joined, 0)
    const left = flowLog.reduce((sum, entry) => sum + entry.left, 0)
    if (joined !== flow.value.joined || left !== flow.value.left) flow.value = { joined, left }
  }

  function forget() {
    for (const [id, mark] of marks) if (mark.until < Date.now()) marks.delete(id)
    const gone = [...selected.value].filter((id) => !row(id))
    if (gone.length && !frozen.value) select(gone, false)
  }

  function row(id: string): ClientRow | undefined {
    return mode.value === 'paged' ? pageRows.get(id) : feed.state.rows.get(id)
  }

  function clientsOf(userId: string): ClientRow[] {
    const rows = mode.value === 'paged' ? pageRows : feed.state.rows
    return [...rows.values()].filter((one) => one.userId === userId)
  }

  function select(ids: Iterable<string>, on: boolean) {
    const next = new Set(selected.value)
    for (const id of ids) on ? next.add(id) : next.delete(id)
    selected.value = next
  }

  /** Fills the choices of the filters; called when one opens, since nobody looks at them otherwise. */
  function readOptions() {
    const rows = mode.value === 'paged' ? pageRows : feed.state.rows
    const of = (get: (row: ClientRow) => string | string[]) => choices(rows.values(), get)
    options.value = {
      role: Object.keys(counts.value.byRole).sort(),
      app: Object.keys(counts.value.byApp).sort(),
      room: of((one) => one.rooms),
      browser: of((one) => family(one.browser)),
      os: of((one) => family(one.os)),
      device: of((one) => one.device),
    }
  }

  function flash(id: string): 'joined' | 'changed' | undefined {
    const mark = marks.get(id)
    return mark && mark.until > Date.now() ? mark.kind : undefined
  }

  return {
    filter, view, counts, mode, error, nodes, matching, page, flow, selected, options, holds, frozen,
    start, stop, apply: () => draw(true), retry: () => feed.opened(), allMatching, row, clientsOf, select, readOptions, flash, takeNews,
  }
})

function notable(part: Partial<ClientRow>, before: ClientRow | undefined): boolean {
  return Object.entries(part).some(([key, value]) => !quiet.has(key) && JSON.stringify(value) !== JSON.stringify(before?.[key as keyof ClientRow]))
}

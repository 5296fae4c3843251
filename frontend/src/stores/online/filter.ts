// Which rows are shown and in which order; the same words stand in the page's URL and in the server's query.
import type { ClientRow } from './rows'

export interface Filter {
  /** Free text over user name, user id, address, room and client id. */
  q: string
  role: string
  room: string
  app: string
  browser: string
  os: string
  device: string
  /** Only clients silent for at least this many seconds; 0 shows all. */
  idle: number
  /** A column name, "-" in front for descending. */
  sort: string
}

export const sortable = [
  'username', 'userId', 'ip', 'browser', 'os', 'device', 'connectedAt', 'heartbeatTime', 'rttMs', 'app',
  'sessionId', 'node', 'roles', 'rooms', 'framesIn', 'framesOut', 'queueBytes', 'id',
] as const
export type SortKey = (typeof sortable)[number]

export const defaultSort = '-connectedAt'
const textKeys = ['q', 'role', 'room', 'app', 'browser', 'os', 'device'] as const

/** What `app` holds in the URL to mean "clients without an app"; an empty parameter means no filter. */
export const noApp = '-'

export function emptyFilter(): Filter {
  return { q: '', role: '', room: '', app: '', browser: '', os: '', device: '', idle: 0, sort: defaultSort }
}

export function isFiltered(filter: Filter): boolean {
  return textKeys.some((key) => filter[key] !== '') || filter.idle > 0
}

/** Reads a filter from URL parameters; what does not fit is ignored, since anybody can edit a URL. */
export function filterFromQuery(query: Record<string, unknown>): Filter {
  const filter = emptyFilter()
  for (const key of textKeys) {
    const value = query[key]
    if (typeof value === 'string') filter[key] = value.slice(0, 200)
  }
  const idle = Number(query.idle)
  if (Number.isInteger(idle) && idle > 0) filter.idle = Math.min(idle, 86_400)
  if (typeof query.sort === 'string' && sortKey(query.sort)) filter.sort = query.sort
  return filter
}

export function filterToQuery(filter: Filter): Record<string, string> {
  const query: Record<string, string> = {}
  for (const key of textKeys) if (filter[key]) query[key] = filter[key]
  if (filter.idle) query.idle = String(filter.idle)
  if (filter.sort !== defaultSort) query.sort = filter.sort
  return query
}

/** The query of `GET /online/clients` for this filter. Browser, OS and idle are filters of the page only. */
export function filterToApi(filter: Filter): Record<string, string> {
  const query: Record<string, string> = {}
  for (const key of ['q', 'role', 'room', 'device'] as const) if (filter[key]) query[key] = filter[key]
  if (filter.app && filter.app !== noApp) query.app = filter.app
  const key = sortKey(filter.sort)
  // The server sorts by plain columns; a list of roles or rooms is none.
  if (key && key !== 'roles' && key !== 'rooms') query.sort = filter.sort
  return query
}

/** The clients that match, in order. `now` is in Unix seconds. */
export function arrange(rows: Iterable<ClientRow>, filter: Filter, now: number): ClientRow[] {
  const matches = matcher(filter, now)
  const list: ClientRow[] = []
  for (const row of rows) if (matches(row)) list.push(row)
  return list.sort(comparer(filter.sort))
}

export function matcher(filter: Filter, now: number): (row: ClientRow) => boolean {
  const words = filter.q.toLowerCase().split(/\s+/).filter(Boolean)
  const app = filter.app === noApp ? '' : filter.app
  return (row) =>
    (!filter.role || row.roles.includes(filter.role)) &&
    (!filter.room || row.rooms.includes(filter.room)) &&
    (!filter.app || row.app === app) &&
    (!filter.browser || family(row.browser) === filter.browser) &&
    (!filter.os || family(row.os) === filter.os) &&
    (!filter.device || row.device === filter.device) &&
    (!filter.idle || now - row.heartbeatTime >= filter.idle) &&
    words.every((word) => haystack(row).includes(word))
}

export function comparer(sort: string): (a: ClientRow, b: ClientRow) => number {
  const key = sortKey(sort) ?? 'connectedAt'
  const sign = sort.startsWith('-') ? -1 : 1
  return (a, b) => {
    const x = sortValue(a, key)
    const y = sortValue(b, key)
    if (x === y) return a.id < b.id ? -1 : 1
    // Unknown values stand last in both directions: nobody sorts by rtt to see who has none.
    if (x === null) return 1
    if (y === null) return -1
    return sign * (typeof x === 'number' ? x - (y as number) : collator.compare(x, y as string) || (x < y ? -1 : 1))
  }
}

export function sortKey(sort: string): SortKey | undefined {
  const name = sort.replace(/^-/, '')
  return sortable.find((key) => key === name)
}

/** What a click on a column's head does: ascending, then descending, then the page's own order. */
export function nextSort(current: string, key: SortKey): string {
  if (current === key) return `-${key}`
  return current === `-${key}` && current !== defaultSort ? defaultSort : key
}

/** "Chrome 142.0" and "Chrome 141" are one choice in the filter. */
export function family(name: string): string {
  return name.replace(/[\s/]+v?[\d.]+.*$/, '')
}

/** The values a filter can take among these rows, most frequent first. */
export function choices(rows: Iterable<ClientRow>, of: (row: ClientRow) => string | string[], limit = 200): string[] {
  const seen = new Map<string, number>()
  for (const row of rows) {
    const value = of(row)
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one) seen.set(one, (seen.get(one) ?? 0) + 1)
    }
  }
  return [...seen].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, limit).map(([name]) => name)
}

// Intl.Collator is some hundred times faster than localeCompare; numeric puts user 9 before user 10.
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' })
const haystacks = new WeakMap<ClientRow, string>()

function haystack(row: ClientRow): string {
  let text = haystacks.get(row)
  if (text === undefined) {
    text = [row.username, `#${row.userId}`, row.ip, row.id, ...row.rooms].join('\n').toLowerCase()
    haystacks.set(row, text)
  }
  return text
}

function sortValue(row: ClientRow, key: SortKey): string | number | null {
  const value = row[key]
  if (Array.isArray(value)) return value.length ? value.join(' ') : null
  return value === '' || value === undefined ? null : value
}

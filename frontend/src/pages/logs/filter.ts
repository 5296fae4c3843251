// Which rows are shown; the same words stand in the page's URL and in the server's query.

export const tabs = ['logins', 'audit'] as const
export type Tab = (typeof tabs)[number]

export const texts = { logins: ['username', 'user', 'ip'], audit: ['actor', 'action', 'target', 'ip'] } as const
const keys = ['from', 'to', 'ip', 'user', 'username', 'outcome', 'actor', 'action', 'target'] as const
export type Filter = Record<(typeof keys)[number], string>

export const tabOf = (query: Record<string, unknown>): Tab => (query.tab === 'audit' ? 'audit' : 'logins')

/** Reads a filter from URL parameters; a time that is none is ignored, since anybody can edit a URL. */
export function filterOf(query: Record<string, unknown>): Filter {
  const text = (key: string) => (typeof query[key] === 'string' ? query[key] : '')
  const filter = Object.fromEntries(keys.map((key) => [key, text(key)])) as Filter
  for (const key of ['from', 'to'] as const) if (Number.isNaN(Date.parse(filter[key]))) filter[key] = ''
  return filter
}

export const isFiltered = (filter: Filter): boolean => keys.some((key) => filter[key] !== '')

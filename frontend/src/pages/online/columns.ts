import type { LiveColumn } from '@/components/LiveTable.vue'

export interface OnlineColumn extends LiveColumn {
  key: ColumnKey
}

export const columnKeys = ['select', 'username', 'roles', 'ip', 'browser', 'connectedAt', 'heartbeatTime', 'rooms', 'rttMs', 'app', 'sessionId', 'node', 'actions'] as const
export type ColumnKey = (typeof columnKeys)[number]

/** Columns a person may hide; who it is and what can be done about it always stay. */
export const optionalColumns = ['roles', 'ip', 'browser', 'connectedAt', 'heartbeatTime', 'rooms', 'rttMs', 'app', 'sessionId', 'node'] as const satisfies ColumnKey[]
export const defaultColumns: ColumnKey[] = ['roles', 'ip', 'browser', 'connectedAt', 'heartbeatTime', 'rooms']

/** Those that are shown without being asked for fit a window of 1280 px beside the navigation. */
const widths: Record<ColumnKey, [track: string, least: number]> = {
  select: ['40px', 40],
  username: ['minmax(168px, 2fr)', 168],
  roles: ['minmax(104px, 1.5fr)', 104],
  ip: ['minmax(140px, 1.4fr)', 140],
  browser: ['minmax(116px, 2fr)', 116],
  connectedAt: ['minmax(118px, 1fr)', 118],
  heartbeatTime: ['minmax(104px, 1fr)', 104],
  rooms: ['minmax(80px, 1.3fr)', 80],
  rttMs: ['80px', 80],
  app: ['minmax(80px, 0.8fr)', 80],
  sessionId: ['110px', 110],
  node: ['80px', 80],
  actions: ['132px', 132],
}
/** The row of a phone: who, and what can be done. */
const phoneWidths: Partial<Record<ColumnKey, string>> = { select: '34px', username: 'minmax(0, 1fr)', actions: '92px' }

/** `title` translates a column's key; `chosen` are the optional columns to show. */
export function columnsFor(chosen: readonly string[], phone: boolean, acts: boolean, title: (key: string) => string): OnlineColumn[] {
  return columnKeys
    .filter((key) => (phone ? key in phoneWidths : !isOptional(key) || chosen.includes(key)))
    .filter((key) => acts || (key !== 'select' && key !== 'actions'))
    .map((key) => ({ key, title: title(key), width: (phone && phoneWidths[key]) || widths[key][0], sortable: key !== 'select' && key !== 'actions' }))
}

export function leastWidth(columns: OnlineColumn[]): number {
  return columns.reduce((sum, column) => sum + widths[column.key][1], 0)
}

function isOptional(key: ColumnKey): boolean {
  return (optionalColumns as readonly string[]).includes(key)
}

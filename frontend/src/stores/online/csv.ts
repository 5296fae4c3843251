// CSV that opens rightly in a spreadsheet: RFC 4180 quoting, a UTF-8 byte order mark for Excel, and no formulas.
import type { ClientRow } from './rows'

export const csvColumns = [
  'id', 'userId', 'username', 'roles', 'ip', 'browser', 'os', 'device', 'app', 'sessionId', 'rooms', 'connectedAt',
  'lastSeenAt', 'rttMs', 'framesIn', 'framesOut', 'queueBytes', 'node',
] as const satisfies readonly (keyof ClientRow)[]

export function toCsv(rows: ClientRow[]): string {
  const lines = rows.map((row) => csvColumns.map((key) => csvField(text(row[key]))).join(','))
  return `\uFEFF${[csvColumns.join(','), ...lines].join('\r\n')}\r\n`
}

/**
 * A spreadsheet runs a cell that begins with one of these as a formula (OWASP, CSV injection), and names are chosen
 * by strangers: an apostrophe in front makes it text.
 */
export function csvField(value: string): string {
  const safe = /^[=+\-@\t\r\n\uFF1D\uFF0B\uFF0D\uFF20]/.test(value) ? `'${value}` : value
  return /[",\r\n]/.test(safe) || safe !== value ? `"${safe.replaceAll('"', '""')}"` : safe
}

function text(value: ClientRow[keyof ClientRow]): string {
  if (value === null || value === undefined) return ''
  return Array.isArray(value) ? value.join(' ') : String(value)
}

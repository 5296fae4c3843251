// The REST calls of this page, each a function that gives the answer or throws ApiError.
import { api, ok } from '@/api/client'
import type { AuditLogEntry, LoginEntry } from '@/api/types'
import type { Filter, Tab } from './filter'

/** Rows of a page. */
export const PAGE_SIZE = 50

/** A row of either log; `kind` says which. */
export type Row = ({ kind: 'logins' } & LoginEntry) | ({ kind: 'audit' } & AuditLogEntry)

export interface Rows {
  tab: Tab
  list: Row[]
  total: number
}

export async function fetchRows(tab: Tab, filter: Filter, page: number): Promise<Rows> {
  const query = { ...wanted(tab, filter), page, pageSize: PAGE_SIZE }
  if (tab === 'logins') {
    const { list, totalCount } = await ok(api.GET('/logs/logins', { params: { query } }))
    return { tab, list: list.map((row) => ({ kind: tab, ...row })), total: totalCount }
  }
  const { list, totalCount } = await ok(api.GET('/logs/audit', { params: { query } }))
  return { tab, list: list.map((row) => ({ kind: tab, ...row })), total: totalCount }
}

export async function fetchRow(tab: Tab, id: string): Promise<Row> {
  const params = { path: { id } }
  if (tab === 'logins') return { kind: tab, ...(await ok(api.GET('/logs/logins/{id}', { params }))) }
  return { kind: tab, ...(await ok(api.GET('/logs/audit/{id}', { params }))) }
}

/** Everything that the filter lets through, as a file. */
export function fetchFile(tab: Tab, filter: Filter, format: 'csv' | 'jsonl'): Promise<Blob> {
  const params = { query: { ...wanted(tab, filter), format } }
  const file = tab === 'logins' ? api.GET('/logs/logins/export', { params, parseAs: 'blob' }) : api.GET('/logs/audit/export', { params, parseAs: 'blob' })
  return ok(file as Promise<{ data?: Blob; response: Response }>)
}

function wanted(tab: Tab, filter: Filter) {
  const { from, to, ip, user, username, outcome, actor, action, target } = filter
  const both = { from: from || undefined, to: to || undefined, ip: ip || undefined }
  if (tab === 'logins') return { ...both, user: user || undefined, username: username || undefined, outcome: outcome || undefined }
  return { ...both, actor: actor || undefined, action: action || undefined, target: target || undefined }
}

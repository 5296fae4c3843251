// The REST calls of this page, each a function that gives the answer or throws ApiError.
import { api, ok } from '@/api/client'
import { apiUrl } from '@/api/token'
import type { ClientPage, ClientQuery, KickRequest, KickResult, PushRequest, PushResult, UserPresence, Why } from '@/api/types'

export const fetchClients = (query: ClientQuery, signal?: AbortSignal): Promise<ClientPage> => ok(api.GET('/online/clients', { params: { query }, signal }))

export const fetchUser = (id: string): Promise<UserPresence> => ok(api.GET('/online/users/{id}', { params: { path: { id } } }))

export const fetchWhy = (id: string): Promise<Why> => ok(api.GET('/online/users/{id}/why', { params: { path: { id } } }))

export const kick = (body: KickRequest, dryRun = false): Promise<KickResult> =>
  ok(api.POST('/online/kick', { params: { query: dryRun ? { dryRun } : {} }, body }))

export const liftLockout = (id: string) => ok(api.DELETE('/online/users/{id}/lockout', { params: { path: { id } } }))

export const push = (body: PushRequest): Promise<PushResult> => ok(api.POST('/push', { body }))

/** The absolute address of a REST path with its query, for "copy as curl". */
export function restUrl(path: string, query: Record<string, unknown> = {}): string {
  const url = new URL(apiUrl(path), document.baseURI)
  for (const [key, value] of Object.entries(query)) if (value !== undefined && value !== '') url.searchParams.set(key, String(value))
  return url.href
}

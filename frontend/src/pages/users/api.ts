import { api, ok } from '@/api/client'
import type { Account, AccountChange, AccountQuery, Imported, NewAccount } from '@/api/types'

const at = (id: string) => ({ params: { path: { id } } })

export const fetchUsers = (query: AccountQuery, signal: AbortSignal) => ok(api.GET('/users', { params: { query }, signal }))
export const fetchUser = (id: string): Promise<Account> => ok(api.GET('/users/{id}', at(id)))
export const createUser = (body: NewAccount): Promise<Account> => ok(api.POST('/users', { body }))
export const changeUser = (id: string, body: AccountChange): Promise<Account> => ok(api.PATCH('/users/{id}', { ...at(id), body }))
export const deleteUser = (id: string, reason: string, confirmSelf: boolean) => ok(api.DELETE('/users/{id}', { ...at(id), body: { reason, ...(confirmSelf && { confirmSelf }) } }))
export const unlockUser = (id: string) => ok(api.POST('/users/{id}/unlock', at(id)))

/** The password that was made up. */
export async function resetPassword(id: string, reason: string): Promise<string> {
  return (await ok(api.POST('/users/{id}/password', { ...at(id), body: { reason } }))).password ?? ''
}

/** A CSV file; nobody is made with `dryRun`, and nobody where a line does not fit. */
export const importUsers = (file: string, dryRun: boolean): Promise<Imported> =>
  ok(api.POST('/users/import', { params: { query: { dryRun } }, body: file, bodySerializer: (text) => text, headers: { 'Content-Type': 'text/csv' } }))

import { api, ok } from '@/api/client'
import type { Role } from '@/api/types'

export const fetchRoles = async (): Promise<Role[]> => (await ok(api.GET('/roles'))).list
export const fetchWords = async () => (await ok(api.GET('/permissions'))).list
export const createRole = (body: { name: string; description: string; permissions: string[] }) => ok(api.POST('/roles', { body }))
export const changeRole = (name: string, body: { description: string; permissions: string[]; reason?: string }): Promise<Role> =>
  ok(api.PATCH('/roles/{name}', { params: { path: { name } }, body }))
export const deleteRole = (name: string, reason: string) => ok(api.DELETE('/roles/{name}', { params: { path: { name } }, body: { reason } }))

// The REST calls of this page, each a function that gives the answer or throws ApiError.
import { api, ok } from '@/api/client'
import type { Node, NodeDrain } from '@/api/types'

export const fetchNodes = async (): Promise<Node[]> => (await ok(api.GET('/nodes'))).list

/** Without a rate all clients are told within the node's `server.drain`. */
export const drain = (name: string, clientsPerSecond?: number): Promise<NodeDrain> =>
  ok(api.POST('/nodes/{name}/drain', { params: { path: { name } }, body: clientsPerSecond ? { clientsPerSecond } : {} }))

export const resume = (name: string): Promise<NodeDrain> => ok(api.POST('/nodes/{name}/resume', { params: { path: { name } } }))

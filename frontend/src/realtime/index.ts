/** The one socket of this browser tab. Who opens and closes it: stores/connection.ts. */
import { createClient, RtError } from '@rollcall/client'
import { ApiError, api, ok } from '@/api/client'
import { renew } from '@/api/token'
import type { Calls, Pushes } from './events'

export type { CloseInfo } from '@rollcall/client'
export { RtError } from '@rollcall/client'
export type * from './events'

export const rt = createClient<Pushes, Calls>({
  url: () => new URL('socket', document.baseURI),
  getTicket: async ({ renew: expired }) => {
    try {
      if (expired) await renew()
      return (await ok(api.POST('/auth/ticket'))).ticket
    } catch (error) {
      // A refusal is final for the socket as well; a network failure is tried again.
      if (error instanceof ApiError && (error.status === 401 || error.status === 403)) throw new RtError(error.status, error.message)
      throw error
    }
  },
})

// The socket outlives access tokens: it is told of the new one in place.
rt.on('auth/expiring', async () => {
  try {
    const { accessToken } = await renew()
    await rt.call('auth/refresh', { token: accessToken })
  } catch {
    // The server closes with tokenExpired, and the client comes back with a new ticket or says why not.
  }
})

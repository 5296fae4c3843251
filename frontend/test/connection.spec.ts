import { createPinia, setActivePinia } from 'pinia'
import { beforeEach, expect, it, vi } from 'vitest'
import { nextTick } from 'vue'
import type { CloseInfo } from '@rollcall/client'
import { useConnectionStore } from '@/stores/connection'
import { useSessionStore } from '@/stores/session'

const socket = vi.hoisted(() => {
  const handlers = new Map<string, (data: unknown) => void>()
  return {
    state: 'idle',
    rtt: null,
    nextRetryAt: null,
    connect: vi.fn(),
    close: vi.fn(),
    on: (event: string, handler: (data: unknown) => void) => handlers.set(event, handler),
    emit: (event: string, data: unknown) => handlers.get(event)?.(data),
  }
})
vi.mock('@/realtime', () => ({ rt: socket }))

const me = { user: { id: '1', username: 'a', roles: [] }, permissions: [], sessionId: 's1', expiresAt: '', mustChangePassword: false }
const end = (info: CloseInfo) => socket.emit('$closed', info)

beforeEach(() => {
  setActivePinia(createPinia())
  vi.clearAllMocks()
})

async function loggedIn() {
  const session = useSessionStore()
  const connection = useConnectionStore()
  session.me = me
  await nextTick()
  return { session, connection }
}

it('the socket opens with the login and closes with the logout', async () => {
  const { session } = await loggedIn()
  expect(socket.connect).toHaveBeenCalledOnce()
  session.clear()
  await nextTick()
  expect(socket.close).toHaveBeenCalled()
})

it.each([4401, 4403, 4410, 4429])('after %i the reason stays on the screen and only a new login helps', async (code) => {
  const { session, connection } = await loggedIn()
  socket.close.mockClear()
  end({ code, reason: 'kicked', text: 'maintenance' })
  await nextTick()
  expect(session.me).toBeNull()
  expect(connection.closed?.text).toBe('maintenance')
  expect(connection.loginNeeded).toBe(true)
  expect(socket.connect).toHaveBeenCalledOnce()
})

it.each([4400, 4409, 1009])('after %i the session lives on and one may reconnect', async (code) => {
  const { session, connection } = await loggedIn()
  end({ code, reason: '' })
  expect(session.me).not.toBeNull()
  expect(connection.loginNeeded).toBe(false)
  connection.retry()
  expect(socket.connect).toHaveBeenCalledTimes(2)
  expect(connection.closed).toBeNull()
})

it('a page built by hand never claims that an update is available', async () => {
  const { connection } = await loggedIn()
  socket.emit('$open', { build: 'another' })
  expect(connection.updateAvailable).toBe(false)
})

it('logging out in another tab logs out here', async () => {
  const { session } = await loggedIn()
  new BroadcastChannel('rollcall.session').postMessage('logout')
  await vi.waitFor(() => expect(session.me).toBeNull())
})

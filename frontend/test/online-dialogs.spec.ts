import { mount } from '@vue/test-utils'
import { NMessageProvider, NNotificationProvider } from 'naive-ui'
import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { h, nextTick, ref } from 'vue'
import { createI18n } from 'vue-i18n'
import { ApiError } from '../src/api/problem'
import ConfirmKick from '../src/components/ConfirmKick.vue'
import SendMessage from '../src/components/SendMessage.vue'
import { messages } from '../src/locales/en'
import type { ClientRow } from '../src/stores/online/rows'
import { whySentence } from '../src/stores/online/why'
import { useSessionStore } from '../src/stores/session'
import { client } from './online-fixtures'

const rest = vi.hoisted(() => ({ kick: vi.fn(), push: vi.fn(), liftLockout: vi.fn(), restUrl: (path: string) => `http://127.0.0.1/api/v1${path}` }))
vi.mock('@/stores/online/api', () => rest)

const i18n = createI18n({ legacy: false, locale: 'en', messages: { en: messages } })
const outcome = (part: object) => ({ matched: 3, closed: 0, pending: [], complete: true, dryRun: true, users: ['7'], ...part })

describe('the kick dialog', () => {
  beforeEach(() => {
    setActivePinia(createPinia())
    useSessionStore().me = { user: { id: '1', username: 'admin', roles: [] }, permissions: [], sessionId: 's0', expiresAt: '', mustChangePassword: false }
    rest.kick.mockReset().mockImplementation(async (_: unknown, dryRun?: boolean) => (dryRun ? outcome({}) : outcome({ dryRun: false, closed: 3 })))
    rest.push.mockReset().mockResolvedValue({ targeted: { users: 1, clients: 2 }, delivered: 2, dropped: 0 })
  })
  afterEach(() => (document.body.innerHTML = ''))

  it('names the person and says what ends with the client', async () => {
    await open(ConfirmKick, [client({ id: 'c1', username: 'alice' })])
    expect(text('h2')).toBe('Kick alice?')
    expect(document.body.textContent).toContain('This ends 3 clients of 1 user')
  })

  it('sends the reason, the lockout and what became of the session, and says how it went', async () => {
    const closed = await open(ConfirmKick, [client({ id: 'c1', username: 'alice' })])
    button('Maintenance; please sign in again later').click()
    await nextTick()
    button('Kick').click()
    await settle()
    expect(rest.kick).toHaveBeenLastCalledWith({ clients: ['c1'], reason: 'Maintenance; please sign in again later', revoke: true })
    expect(document.body.textContent).toContain('Closed 3 of 3')
    expect(closed).toHaveBeenCalled()
  })

  it('lets a lockout be lifted from its toast', async () => {
    rest.kick.mockResolvedValue(outcome({ dryRun: false, closed: 3, until: '2030-01-01T00:00:00Z' }))
    await open(ConfirmKick, [client({ id: 'c1', username: 'alice' })])
    button('Kick').click()
    await settle()
    button('Lift lockout').click()
    await settle()
    expect(rest.liftLockout).toHaveBeenCalledWith('7')
    expect(document.body.textContent).toContain('Lockout of alice lifted')
  })

  it('kicks oneself only after a tick of its own', async () => {
    await open(ConfirmKick, [client({ id: 'c0', userId: '1', username: 'admin' })])
    expect(button('Kick').disabled).toBe(true)
    document.querySelector<HTMLElement>('.n-checkbox')!.click()
    await nextTick()
    button('Kick').click()
    await settle()
    expect(rest.kick.mock.lastCall![0]).toMatchObject({ confirmSelf: true })
  })

  it('stays open with the reason of a refusal', async () => {
    const closed = await open(ConfirmKick, [client({ id: 'c1', username: 'alice' })])
    rest.kick.mockRejectedValue(new ApiError(403, 'forbidden', 'Only an administrator may kick an administrator.', { requestId: 'r-17' }))
    button('Kick').click()
    await settle()
    expect(text('[role=alert]')).toContain('Only an administrator may kick an administrator.')
    expect(text('[role=alert]')).toContain('r-17')
    expect(closed).not.toHaveBeenCalled()
  })

  it('a message says how many sockets it reached', async () => {
    await open(SendMessage, [client({ id: 'c1', username: 'alice' })])
    const [title, content] = document.querySelectorAll<HTMLInputElement>('input.n-input__input-el, textarea')
    expect(button('Send').disabled).toBe(true)
    type(title!, 'Hello')
    type(content!, '<b>Lunch?</b>')
    await nextTick()
    button('Send').click()
    await settle()
    expect(rest.push).toHaveBeenCalledWith({
      target: { clients: ['c1'] }, event: 'notice', data: { kind: 'letter', type: 3, title: 'Hello', content: '<b>Lunch?</b>', severity: 'info' },
    })
    expect(document.body.textContent).toContain('Delivered to 2 of 2 sockets')
  })
})

describe('why online', () => {
  const now = Date.parse('2024-05-14T07:12:13Z') / 1_000
  const evidence = { id: 'c1', node: 'a1', lastFrameAt: '2024-05-14T07:12:10Z', lastPongAt: '2024-05-14T07:12:01Z', rttMs: 14, queueBytes: 0, queueMessages: 0, connectedAt: '2024-05-14T07:00:00Z', leaving: false }
  const why = (part: object) => ({ userId: '7', online: true, leaving: false, clients: [evidence], sentence: '', rev: 1, node: 'a1', asOf: '', complete: true, nodes: { answered: 1, expected: 1 }, ...part })
  const sentence = (part: object) => whySentence(why(part), i18n.global.t as never, 'en', now)

  it('is one sentence with the evidence', () => {
    expect(sentence({})).toBe('Online: 1 client, last frame 3s ago, last pong 12s ago, round trip 14 ms, nothing queued.')
    expect(sentence({ clients: [evidence, { ...evidence, lastFrameAt: '2024-05-14T07:12:12Z', lastPongAt: undefined, rttMs: undefined, queueMessages: 2 }] })).toBe(
      'Online: 2 clients, last frame 1s ago, 2 messages queued.')
  })

  it('tells the grace and an absence apart', () => {
    expect(sentence({ leaving: true, clients: [] })).toMatch(/grace/)
    expect(sentence({ online: false, clients: [] })).toBe('Not online.')
  })
})

async function open(dialog: typeof ConfirmKick | typeof SendMessage, targets: ClientRow[]) {
  const rows = ref<ClientRow[]>([])
  const closed = vi.fn(() => (rows.value = []))
  mount({ setup: () => () => h(NMessageProvider, () => h(NNotificationProvider, () => h(dialog as never, { rows: rows.value, onClose: closed }))) }, { attachTo: document.body, global: { plugins: [i18n] } })
  rows.value = targets
  await settle()
  return closed
}

const settle = async () => {
  for (let i = 0; i < 10; i += 1) await nextTick()
}
const text = (selector: string) => document.querySelector(selector)?.textContent?.trim()
const button = (label: string) => [...document.querySelectorAll('button')].find((one) => one.textContent?.trim() === label)!

function type(field: HTMLInputElement, value: string) {
  field.value = value
  field.dispatchEvent(new Event('input'))
}

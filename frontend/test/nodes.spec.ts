import { mount } from '@vue/test-utils'
import { NMessageProvider } from 'naive-ui'
import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { h, nextTick } from 'vue'
import { createI18n } from 'vue-i18n'
import { ApiError } from '../src/api/problem'
import type { Node } from '../src/api/types'
import { messages } from '../src/locales/en'
import { duration } from '../src/pages/nodes/duration'
import NodesPage from '../src/pages/nodes/NodesPage.vue'
import { useSessionStore } from '../src/stores/session'

const rest = vi.hoisted(() => ({ fetchNodes: vi.fn(), drain: vi.fn(), resume: vi.fn() }))
vi.mock('../src/pages/nodes/api', () => rest)

const i18n = createI18n({ legacy: false, locale: 'en', messages: { en: messages } })
const node = (part: Partial<Node>): Node => ({
  name: 'n1', generation: part.name ?? 'n1', version: '0.1.0', address: '127.0.0.1:8080', startedAt: '2030-01-01T00:00:00Z', uptimeSeconds: 90_061, clients: 12, load: 0.5, state: 'up',
  lastHeardAt: '2030-01-01T00:00:00Z', self: false, ...part,
})

const text = (selector: string) => document.querySelector(selector)?.textContent ?? ''
const button = (name: string) => [...document.querySelectorAll('button')].find((one) => (one.textContent?.trim() || one.ariaLabel) === name)
const last = (name: string) => [...document.querySelectorAll('button')].filter((one) => one.textContent?.trim() === name).at(-1)!

async function settle() {
  for (let turn = 0; turn < 5; turn += 1) await Promise.resolve()
  await nextTick()
}

async function open(nodes: Node[], permissions = ['monitor:read', 'settings:write']) {
  rest.fetchNodes.mockResolvedValue(nodes)
  useSessionStore().me = { user: { id: '1', username: 'admin', roles: [] }, permissions, sessionId: 's0', expiresAt: '', mustChangePassword: false }
  const page = mount({ render: () => h(NMessageProvider, null, () => h(NodesPage)) }, { attachTo: document.body, global: { plugins: [i18n] } })
  await settle()
  return page
}

describe('the page of nodes', () => {
  beforeEach(() => {
    vi.useFakeTimers()
    setActivePinia(createPinia())
    rest.fetchNodes.mockReset()
    rest.drain.mockReset().mockResolvedValue({})
    rest.resume.mockReset().mockResolvedValue({})
  })
  afterEach(() => {
    vi.useRealTimers()
    document.body.innerHTML = ''
  })

  it('sums up, names each node, its state and its uptime', async () => {
    const page = await open([node({ name: 'n1', self: true }), node({ name: 'n2', state: 'suspect', clients: 3 }), node({ name: 'n3', state: 'dead', clients: 0, load: undefined })])
    expect(text('[data-test=sum]')).toBe('1 of 3 nodes taking clients · 15 clients')
    const rows = [...document.querySelectorAll('tbody tr')].map((row) => row.textContent)
    expect(rows[0]).toMatch(/n1.*this one.*up.*12.*0\.50.*1 day 1 hr/)
    expect(rows[1]).toContain('suspect')
    expect(rows[2]).toMatch(/dead.*0–/)
    expect(document.querySelectorAll('tbody button'), 'only a live node is drained').toHaveLength(1)
    page.unmount()
  })

  it('reads again every two seconds, and no more once it is left', async () => {
    const page = await open([node({})])
    rest.fetchNodes.mockResolvedValue([node({ state: 'draining', drain: { state: 'draining', remaining: 30, etaSeconds: 61, movedAway: 10 } })])
    await vi.advanceTimersByTimeAsync(2_000)
    await settle()
    expect(text('tbody tr')).toContain('30 left, about 1 min 1 sec')
    const asked = rest.fetchNodes.mock.calls.length
    page.unmount()
    await vi.advanceTimersByTimeAsync(10_000)
    expect(rest.fetchNodes.mock.calls.length).toBe(asked)
  })

  it('asks before it drains, warns where there is nowhere to go, and sends the rate', async () => {
    const page = await open([node({})])
    button('Drain')!.click()
    await settle()
    expect(text('h2')).toBe('Drain n1?')
    expect(document.body.textContent).toContain('tells its 12 clients one after the other')
    expect(document.body.textContent).toContain('No other node takes clients')
    const rate = document.querySelector<HTMLInputElement>('input[aria-label="Clients a second"]')!
    rate.value = '250'
    for (const event of ['focus', 'input', 'blur']) rate.dispatchEvent(new Event(event))
    await settle()
    last('Drain').click()
    await settle()
    expect(rest.drain).toHaveBeenCalledWith('n1', 250)
    expect(document.body.textContent).toContain('n1 sends its clients elsewhere')
    page.unmount()
  })

  it('resumes a draining node, and shows why that was refused', async () => {
    const page = await open([node({}), node({ name: 'n2', state: 'draining', drain: { state: 'draining', remaining: 0, etaSeconds: 0, movedAway: 4 } })])
    expect(text('tbody tr:nth-child(2)')).toContain('Nobody is left')
    rest.resume.mockRejectedValueOnce(new ApiError(409, 'stopping', 'This node stops; start it anew.', { requestId: 'r1' }))
    button('Resume')!.click()
    await settle()
    last('Resume').click()
    await settle()
    expect(rest.resume).toHaveBeenCalledWith('n2')
    expect(text('[role=alert]')).toContain('This node stops; start it anew.')
    page.unmount()
  })

  it('offers nothing to those who may only look', async () => {
    const page = await open([node({})], ['monitor:read'])
    expect(document.querySelectorAll('tbody button')).toHaveLength(0)
    page.unmount()
  })

  it('keeps what it knew when the server does not answer', async () => {
    const page = await open([node({})])
    rest.fetchNodes.mockRejectedValue(new ApiError(0, 'network', 'gone'))
    await vi.advanceTimersByTimeAsync(2_000)
    await settle()
    expect(text('[role=alert]')).toContain('cannot be reached')
    expect(text('tbody tr')).toContain('n1')
    page.unmount()
  })
})

describe('a duration', () => {
  it('has its two largest units', () => {
    expect([0, 59, 60, 3_600, 3_725, 90_061].map((seconds) => duration(seconds, 'en'))).toEqual(['0 sec', '59 sec', '1 min', '1 hr', '1 hr 2 min', '1 day 1 hr'])
    expect(duration(90_061, 'zh-CN')).toBe('1天 1小时')
  })
})

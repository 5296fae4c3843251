import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type Client, type CloseInfo, createClient, type Options, RtError } from '../src'
import { FakeSocket } from './fake-socket'

interface Pushes {
  news: { n: number }
}
interface Calls {
  sum: [number[], number]
  'online/subscribe': [object, { rev: number }]
  'online/unsubscribe': [object, undefined]
}

let rt: Client<Pushes, Calls>
let visibility: DocumentVisibilityState
let onLine: boolean

/** Lets the promises of a connection attempt settle. */
const settle = () => vi.advanceTimersByTimeAsync(0)

async function start(options: Partial<Options> = {}): Promise<FakeSocket> {
  rt = createClient<Pushes, Calls>({ url: 'http://127.0.0.1/socket', getTicket: () => 't1', WebSocket: FakeSocket as never, ...options })
  rt.connect()
  await settle()
  return FakeSocket.last
}

async function started(options?: Partial<Options>): Promise<FakeSocket> {
  const socket = await start(options)
  socket.open()
  return socket
}

beforeEach(() => {
  vi.useFakeTimers()
  FakeSocket.all = []
  visibility = 'visible'
  onLine = true
  vi.spyOn(document, 'visibilityState', 'get').mockImplementation(() => visibility)
  vi.spyOn(navigator, 'onLine', 'get').mockImplementation(() => onLine)
  vi.spyOn(Math, 'random').mockReturnValue(0.5)
})

afterEach(() => {
  rt.close()
  expect(vi.getTimerCount(), 'timers left after close').toBe(0)
  vi.useRealTimers()
})

function look(state: DocumentVisibilityState) {
  visibility = state
  document.dispatchEvent(new Event('visibilitychange'))
}

describe('opening', () => {
  it('sends the ticket as a subprotocol and speaks ws', async () => {
    const socket = await start()
    expect(socket.protocols).toEqual(['rollcall.v1', 'ticket.t1'])
    expect(socket.url).toBe('ws://127.0.0.1/socket')
  })

  it('is open only when the server says connected', async () => {
    const socket = await start()
    expect(rt.state).toBe('connecting')
    socket.open()
    expect(rt.state).toBe('open')
    expect(rt.connected?.clientId).toBe('c1')
  })

  it('opens one socket however often connect is called', async () => {
    await started()
    rt.connect()
    await settle()
    expect(FakeSocket.all).toHaveLength(1)
  })

  it('gives up an attempt that is not connected within ten seconds', async () => {
    const socket = await start()
    await vi.advanceTimersByTimeAsync(10_000)
    expect(rt.state).toBe('retrying')
    expect(socket.closedWith).toBe(4001)
  })

  it('tries again when the ticket cannot be fetched', async () => {
    await start({ getTicket: () => Promise.reject(new Error('down')) })
    expect(rt.state).toBe('retrying')
  })

  it('stays away when the ticket is refused', async () => {
    await start({ getTicket: () => Promise.reject(new RtError(401, 'revoked')) })
    expect(rt.closed).toMatchObject({ code: 4401, text: 'revoked' })
    await vi.advanceTimersByTimeAsync(60_000)
    expect(FakeSocket.all).toHaveLength(0)
  })

  it('ignores a ticket that arrives after close', async () => {
    let give!: (ticket: string) => void
    await start({ getTicket: () => new Promise((resolve) => (give = resolve)) })
    rt.close()
    give('late')
    await settle()
    expect(FakeSocket.all).toHaveLength(0)
  })
})

describe('coming back', () => {
  it('waits with full jitter between 500 ms and 20 s', async () => {
    await started()
    const waits: number[] = []
    for (let i = 0; i < 8; i++) {
      FakeSocket.last.end(1006)
      waits.push(rt.nextRetryAt! - Date.now())
      await vi.advanceTimersByTimeAsync(waits.at(-1)!)
    }
    // Random is 0.5: half way between 500 ms and a ceiling of 1, 2, 4, 8, 16, 20 s.
    expect(waits).toEqual([750, 1_250, 2_250, 4_250, 8_250, 10_250, 10_250, 10_250])
  })

  it('waits at least as long as the server asks', async () => {
    const socket = await started()
    socket.end(4000, { reason: 'restart', retryAfterMs: 3_000 })
    expect(rt.nextRetryAt! - Date.now()).toBe(3_250)
    look('visible')
    await settle()
    expect(FakeSocket.all).toHaveLength(1)
  })

  it.each([1001, 1005, 1006, 1011, 1012, 4000, 4001, 4008, 4013])('comes back after %i', async (code) => {
    const socket = await started()
    socket.end(code)
    expect(rt.state).toBe('retrying')
  })

  it.each([1000, 1002, 1003, 1007, 1009, 1010, 4400, 4403, 4409, 4410, 4429, 4999])('stays away after %i', async (code) => {
    const socket = await started()
    socket.end(code)
    expect(rt.state).toBe('closed')
    await vi.advanceTimersByTimeAsync(60_000)
    expect(FakeSocket.all).toHaveLength(1)
  })

  it('begins the waits anew only after ten stable seconds', async () => {
    await started()
    FakeSocket.last.end(1006)
    await vi.advanceTimersByTimeAsync(750)
    FakeSocket.last.open()
    await vi.advanceTimersByTimeAsync(9_000)
    FakeSocket.last.end(1006)
    expect(rt.nextRetryAt! - Date.now()).toBe(1_250)
    await vi.advanceTimersByTimeAsync(1_250)
    FakeSocket.last.open()
    FakeSocket.last.reply('ping')
    await vi.advanceTimersByTimeAsync(10_000)
    FakeSocket.last.end(1006)
    expect(rt.nextRetryAt! - Date.now()).toBe(750)
  })

  it('fetches one new token after tokenExpired, and stays away after the second', async () => {
    const getTicket = vi.fn(() => 't')
    const socket = await started({ getTicket })
    socket.end(4401, { reason: 'tokenExpired' })
    await settle()
    expect(getTicket.mock.calls.map(([attempt]: unknown[]) => (attempt as { renew: boolean }).renew)).toEqual([false, true])
    FakeSocket.last.end(4401, { reason: 'tokenExpired' })
    expect(rt.closed).toEqual({ code: 4401, reason: 'tokenExpired' })
  })

  it('stays away at once when the session is revoked', async () => {
    const socket = await started()
    socket.end(4401, { reason: 'sessionRevoked' })
    expect(rt.state).toBe('closed')
  })

  it('wakes when the network is back', async () => {
    const socket = await started()
    onLine = false
    socket.end(1006)
    expect(rt.state).toBe('offline')
    onLine = true
    dispatchEvent(new Event('online'))
    await settle()
    expect(FakeSocket.all).toHaveLength(2)
  })

  it('wakes when somebody looks at the page', async () => {
    const socket = await started()
    look('hidden')
    socket.end(1006)
    look('visible')
    await settle()
    expect(rt.state).toBe('connecting')
  })

  it('tries at once when connect is called while waiting', async () => {
    const socket = await started()
    socket.end(1006)
    rt.connect()
    await settle()
    expect(FakeSocket.all).toHaveLength(2)
    expect(rt.nextRetryAt).toBeNull()
  })

  it('connects anew after a final close', async () => {
    const socket = await started()
    socket.end(4410, { reason: 'kicked' })
    rt.connect()
    await settle()
    expect(rt.closed).toBeNull()
    expect(FakeSocket.all).toHaveLength(2)
  })

  it('ignores what an old socket still says', async () => {
    const old = await started()
    old.end(1006)
    await vi.advanceTimersByTimeAsync(750)
    FakeSocket.last.open()
    const heard = vi.fn()
    rt.on('news', heard)
    old.receive({ event: 'news', data: { n: 1 }, code: 0, timestamp: 1 })
    old.end(4410)
    expect(heard).not.toHaveBeenCalled()
    expect(rt.state).toBe('open')
  })
})

describe('being shown the door', () => {
  it('gives the whole sentence of the operator', async () => {
    const socket = await started()
    const kicked = vi.fn<(info: CloseInfo) => void>()
    const closed = vi.fn<(info: CloseInfo) => void>()
    rt.on('$kicked', kicked)
    rt.on('$closed', closed)
    socket.receive({ event: 'kick', data: { reason: 'a long sentence', until: '2030-01-01T00:00:00Z' }, code: 0, timestamp: 1 })
    socket.end(4429, { reason: 'locked', text: 'a long' })
    const info = { code: 4429, reason: 'locked', text: 'a long sentence', until: '2030-01-01T00:00:00Z' }
    expect(kicked).toHaveBeenCalledWith(info, undefined)
    expect(closed).toHaveBeenCalledWith(info, undefined)
    expect(rt.closed).toEqual(info)
  })

  it('gives the sentence of the close reason when the push was missed', async () => {
    const socket = await start()
    socket.end(4410, { reason: 'kicked', text: 'enough' })
    expect(rt.closed).toMatchObject({ code: 4410, text: 'enough' })
  })

  it.each(['plain text', '[]', '"x"', 'null', '', '{"reason":7}'])('survives the close reason %s', async (reason) => {
    const socket = await started()
    socket.end(4410, reason)
    expect(rt.closed?.code).toBe(4410)
    expect(rt.closed?.reason).toBeTypeOf('string')
  })
})

describe('the ping', () => {
  it('measures the round trip and repeats after the heartbeat', async () => {
    const socket = await started({ heartbeat: 5_000 })
    await vi.advanceTimersByTimeAsync(30)
    socket.reply('ping')
    expect(rt.rtt).toBe(30)
    await vi.advanceTimersByTimeAsync(5_000)
    expect(socket.sent.filter(({ event }) => event === 'ping')).toHaveLength(2)
  })

  it('drops a connection that leaves it unanswered for ten seconds', async () => {
    const socket = await started()
    await vi.advanceTimersByTimeAsync(9_999)
    expect(rt.state).toBe('open')
    await vi.advanceTimersByTimeAsync(1)
    expect(rt.state).toBe('retrying')
    expect(socket.closedWith).toBe(4001)
    expect(rt.rtt).toBeNull()
  })

  it('judges nothing while the page is hidden, and at once when it is looked at again', async () => {
    const socket = await started()
    look('hidden')
    await vi.advanceTimersByTimeAsync(600_000)
    expect(rt.state).toBe('open')
    expect(socket.sent).toHaveLength(1)
    look('visible')
    expect(socket.sent).toHaveLength(2)
    await vi.advanceTimersByTimeAsync(10_000)
    expect(rt.state).toBe('retrying')
  })

  it('counts a refused ping as an answer', async () => {
    const socket = await started()
    socket.reply('ping', { code: 429, errorMsg: 'too fast' })
    await vi.advanceTimersByTimeAsync(10_000)
    expect(rt.state).toBe('open')
  })

  it('does not count silence of the server as death', async () => {
    const socket = await started({ heartbeat: 60_000 })
    socket.reply('ping')
    await vi.advanceTimersByTimeAsync(59_000)
    expect(rt.state).toBe('open')
  })
})

describe('calls', () => {
  it('resolves with the data of the reply that carries its id', async () => {
    const socket = await started()
    const first = rt.call('sum', [1, 2])
    const second = rt.call('sum', [3])
    const [a, b] = socket.sent.slice(-2)
    expect(a).toEqual({ event: 'sum', id: expect.any(Number), data: [1, 2] })
    socket.receive({ event: 'sum', id: b!.id, data: 3, code: 0, timestamp: 1 })
    socket.receive({ event: 'sum', id: a!.id, data: 33, code: 0, timestamp: 1 })
    expect(await first).toBe(33)
    expect(await second).toBe(3)
  })

  it('rejects with the code, the sentence and the data of the server', async () => {
    const socket = await started()
    const call = rt.call('sum', [])
    socket.reply('sum', { code: 429, errorMsg: 'too fast', data: { retryAfterMs: 100 } })
    await expect(call).rejects.toMatchObject({ code: 429, message: 'too fast', data: { retryAfterMs: 100 } })
  })

  it('rejects after its timeout', async () => {
    const socket = await started()
    const call = expect(rt.call('sum', [], { timeout: 50 })).rejects.toMatchObject({ code: 'timeout' })
    await vi.advanceTimersByTimeAsync(50)
    await call
    socket.reply('sum')
  })

  it('rejects when it is aborted, before or after it was sent', async () => {
    const socket = await started()
    const abort = new AbortController()
    const call = rt.call('sum', [], { signal: abort.signal })
    abort.abort()
    await expect(call).rejects.toMatchObject({ code: 'aborted' })
    const sent = socket.sent.length
    await expect(rt.call('sum', [], { signal: abort.signal })).rejects.toMatchObject({ code: 'aborted' })
    expect(socket.sent).toHaveLength(sent)
  })

  it('rejects at once while there is no connection', async () => {
    const socket = await start()
    await expect(rt.call('sum', [])).rejects.toMatchObject({ code: 'disconnected' })
    expect(rt.send('x')).toBe(false)
    expect(socket.sent).toEqual([])
  })

  it('rejects on disconnect and is not sent again', async () => {
    const socket = await started()
    const call = rt.call('sum', [])
    socket.end(1006)
    await expect(call).rejects.toMatchObject({ code: 'disconnected' })
    await vi.advanceTimersByTimeAsync(750)
    FakeSocket.last.open()
    expect(FakeSocket.last.sentEvents()).toEqual([])
  })
})

describe('pushes', () => {
  it('reach many handlers and the star, until they are removed', async () => {
    const socket = await started()
    const heard: string[] = []
    const off = rt.on('news', ({ n }) => heard.push(`a${n}`))
    rt.on('news', ({ n }) => heard.push(`b${n}`))
    rt.on('*', (_, frame) => heard.push(`*${frame.event}`))
    socket.receive({ event: 'news', data: { n: 1 }, code: 0, timestamp: 1 })
    off()
    off()
    socket.receive({ event: 'news', data: { n: 2 }, code: 0, timestamp: 1 })
    expect(heard).toEqual(['a1', 'b1', '*news', 'b2', '*news'])
  })

  it('a handler that throws disturbs no other', async () => {
    const onError = vi.fn()
    const socket = await started({ onError })
    const heard = vi.fn()
    rt.on('news', () => {
      throw new Error('mine')
    })
    rt.on('news', heard)
    socket.receive({ event: 'news', data: { n: 1 }, code: 0, timestamp: 1 })
    expect(heard).toHaveBeenCalledOnce()
    expect(onError).toHaveBeenCalledWith(expect.any(Error), 'news')
  })

  it.each(['{', '[]', 'null', '7', '{"data":1}', '{"event":5}'])('counts the bad frame %s', async (text) => {
    const socket = await started()
    socket.receive(text)
    expect(rt.badFrames).toBe(1)
    expect(rt.state).toBe('open')
  })

  it('a failure that answers no call is heard as $error', async () => {
    const socket = await started()
    const heard = vi.fn()
    rt.on('$error', heard)
    rt.send('nonsense')
    socket.receive({ event: 'nonsense', code: 404, errorMsg: 'unknown', timestamp: 1 })
    expect(heard.mock.lastCall?.[0]).toMatchObject({ code: 404 })
  })
})

describe('rooms', () => {
  it('are joined once and quit with the last reference', async () => {
    const socket = await started()
    const joined = rt.join('lobby')
    void rt.join('lobby')
    socket.reply('join', { data: ['lobby'] })
    await joined
    rt.quit('lobby')
    expect(socket.sentEvents()).toEqual(['join'])
    rt.quit('lobby')
    rt.quit('lobby')
    expect(socket.sentEvents()).toEqual(['join', 'quit'])
  })

  it('are joined again after a reconnect', async () => {
    const socket = await started()
    void rt.join('a')
    void rt.join('b')
    rt.quit('b')
    socket.end(1006)
    await vi.advanceTimersByTimeAsync(750)
    FakeSocket.last.open()
    expect(FakeSocket.last.sentEvents()).toEqual(['join'])
    expect(FakeSocket.last.sent[0]?.data).toEqual({ id: 'a' })
  })

  it('a room that refuses is not asked again', async () => {
    const socket = await started()
    const joined = rt.join('closed:1')
    socket.reply('join', { code: 403, errorMsg: 'no' })
    await expect(joined).rejects.toMatchObject({ code: 403 })
    socket.end(1006)
    await vi.advanceTimersByTimeAsync(750)
    FakeSocket.last.open()
    expect(FakeSocket.last.sentEvents()).toEqual([])
  })
})

describe('subscriptions', () => {
  it('take the snapshot again after a reconnect, before $open is heard', async () => {
    const socket = await started()
    const revs: number[] = []
    const events: string[][] = []
    rt.on('$open', () => events.push(FakeSocket.last.sentEvents()))
    rt.subscribe('online', {}, ({ rev }) => revs.push(rev))
    socket.reply('online/subscribe', { data: { rev: 1 } })
    socket.end(4000)
    await vi.advanceTimersByTimeAsync(750)
    FakeSocket.last.open()
    FakeSocket.last.reply('online/subscribe', { data: { rev: 9 } })
    expect(revs).toEqual([1, 9])
    expect(events).toEqual([['online/subscribe']])
  })

  it('are asked anew after a gap and ended with the last subscriber', async () => {
    const socket = await started()
    const one = rt.subscribe('online', {}, () => {})
    const two = rt.subscribe('online', {}, () => {})
    one.again()
    one.unsubscribe()
    expect(socket.sentEvents()).toEqual(Array(3).fill('online/subscribe'))
    two.unsubscribe()
    two.unsubscribe()
    expect(socket.sentEvents().at(-1)).toBe('online/unsubscribe')
    expect(socket.sentEvents()).toHaveLength(4)
  })

  it('hear a refusal, and nothing after they ended', async () => {
    const socket = await started()
    const reply = vi.fn()
    const failed = vi.fn()
    const one = rt.subscribe('online', {}, reply, failed)
    socket.reply('online/subscribe', { code: 403, errorMsg: 'no' })
    expect(failed.mock.lastCall?.[0]).toMatchObject({ code: 403 })
    one.again()
    one.unsubscribe()
    const id = socket.sent.findLast(({ event }) => event === 'online/subscribe')!.id
    socket.receive({ event: 'online/subscribe', id, data: { rev: 1 }, code: 0, timestamp: 1 })
    expect(reply).not.toHaveBeenCalled()
  })
})

describe('close', () => {
  it('says goodbye with 1000, rejects calls and never comes back', async () => {
    const socket = await started()
    const call = rt.call('sum', [])
    rt.close()
    await expect(call).rejects.toMatchObject({ code: 'disconnected' })
    expect(socket.closedWith).toBe(1000)
    expect(rt.state).toBe('idle')
    socket.end(1006)
    dispatchEvent(new Event('online'))
    await vi.advanceTimersByTimeAsync(60_000)
    expect(FakeSocket.all).toHaveLength(1)
  })

  it('keeps rooms and subscriptions for the next connect', async () => {
    await started()
    void rt.join('a')
    rt.subscribe('online', {}, () => {})
    rt.close()
    rt.connect()
    await settle()
    FakeSocket.last.open()
    expect(FakeSocket.last.sentEvents()).toEqual(['join', 'online/subscribe'])
  })

  it('tells every state once, in order', async () => {
    const states: string[] = []
    const socket = await start()
    rt.on('$state', (state) => states.push(state))
    socket.open()
    socket.end(1006)
    await vi.advanceTimersByTimeAsync(750)
    FakeSocket.last.open()
    FakeSocket.last.end(4403)
    expect(states).toEqual(['open', 'retrying', 'connecting', 'open', 'closed'])
  })
})

import { execFileSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { csvField, toCsv } from '../src/stores/online/csv'
import { shellQuote, toCurl } from '../src/stores/online/curl'
import { arrange, choices, emptyFilter, family, filterFromQuery, filterToApi, filterToQuery, nextSort } from '../src/stores/online/filter'
import { emptyView, nextView } from '../src/stores/online/freeze'
import type { ClientRow } from '../src/stores/online/rows'
import { client, random } from './online-fixtures'

const now = 1_700_000_200
const all = (rows: ClientRow[]) => new Map(rows.map((row) => [row.id, row]))
const names = (rows: ClientRow[]) => rows.map((row) => row.username)

describe('filters', () => {
  const rows = [
    client({ id: 'c1', username: 'Alice', userId: '9', ip: '203.0.113.7', rooms: ['lobby'], roles: ['admin'], rttMs: 30 }),
    client({ id: 'c2', username: 'bob', userId: '10', ip: '198.51.100.2', rooms: ['post:1'], app: 'shop', rttMs: undefined, browser: 'Chrome 141' }),
    client({ id: 'c3', username: '王芳', userId: '100', rooms: ['lobby', 'post:1'], rttMs: 5, heartbeatTime: now - 3, browser: 'Edge 141' }),
  ]
  const shown = (part: Partial<ReturnType<typeof emptyFilter>>) => names(arrange(rows, { ...emptyFilter(), sort: 'id', ...part }, now))

  it('finds by name, user id, address, room and client id, every word anywhere', () => {
    expect(shown({ q: 'ALI' })).toEqual(['Alice'])
    expect(shown({ q: '王' })).toEqual(['王芳'])
    expect(shown({ q: '#10' })).toEqual(['bob', '王芳'])
    expect(shown({ q: '198.51' })).toEqual(['bob'])
    expect(shown({ q: 'c3' })).toEqual(['王芳'])
    expect(shown({ q: 'lobby post:1' })).toEqual(['王芳'])
    expect(shown({ q: '   ' })).toHaveLength(3)
  })

  it('narrows by role, room, app, browser family and silence', () => {
    expect(shown({ role: 'admin' })).toEqual(['Alice'])
    expect(shown({ room: 'post:1' })).toEqual(['bob', '王芳'])
    expect(shown({ app: 'shop' })).toEqual(['bob'])
    expect(shown({ app: '-' })).toEqual(['Alice', '王芳'])
    expect(shown({ browser: 'Chrome' })).toEqual(['Alice', 'bob'])
    expect(shown({ idle: 60 })).toEqual(['Alice', 'bob'])
  })

  it('sorts numbers as numbers, and unknown values last in both directions', () => {
    expect(shown({ sort: 'userId' })).toEqual(['Alice', 'bob', '王芳'])
    expect(shown({ sort: 'rttMs' })).toEqual(['王芳', 'Alice', 'bob'])
    expect(shown({ sort: '-rttMs' })).toEqual(['Alice', '王芳', 'bob'])
  })

  it('orders equal rows the same way every time', () => {
    const dice = random(4)
    const many = Array.from({ length: 200 }, (_, i) => client({ id: `c${i}`, username: `u${dice(3)}` }))
    const shuffled = [...many].sort(() => dice(3) - 1)
    expect(arrange(many, { ...emptyFilter(), sort: '-username' }, now)).toEqual(arrange(shuffled, { ...emptyFilter(), sort: '-username' }, now))
  })

  it('survive the way through the URL and back', () => {
    const filter = { ...emptyFilter(), q: 'a & b', role: 'admin', app: '-', idle: 120, sort: '-rttMs' }
    expect(filterFromQuery(filterToQuery(filter))).toEqual(filter)
    expect(filterToQuery(emptyFilter())).toEqual({})
  })

  it('ignore what a hand-made URL gets wrong', () => {
    expect(filterFromQuery({ sort: 'constructor', idle: '-5', role: ['a', 'b'], q: null })).toEqual(emptyFilter())
  })

  it('ask the server only for what it knows', () => {
    expect(filterToApi({ ...emptyFilter(), q: 'x', browser: 'Edge', idle: 60, sort: 'rooms' })).toEqual({ q: 'x' })
    expect(filterToApi({ ...emptyFilter(), app: '-', sort: '-rttMs' })).toEqual({ sort: '-rttMs' })
  })

  it('a column head cycles through ascending, descending and the usual order', () => {
    expect(nextSort('-connectedAt', 'username')).toBe('username')
    expect(nextSort('username', 'username')).toBe('-username')
    expect(nextSort('-username', 'username')).toBe('-connectedAt')
    expect(nextSort('-connectedAt', 'connectedAt')).toBe('connectedAt')
  })

  it('offers each value once, the frequent first, browsers without their version', () => {
    expect(choices(rows, (row) => family(row.browser))).toEqual(['Chrome', 'Edge'])
    expect(choices(rows, (row) => row.rooms)).toEqual(['lobby', 'post:1'])
    expect(['Windows 11', 'Ubuntu 24.04', 'Mac OS X 10.15.7', 'Mobile Safari 18.1', 'Linux'].map(family)).toEqual(
      ['Windows', 'Ubuntu', 'Mac OS X', 'Mobile Safari', 'Linux'])
  })
})

describe('the frozen view', () => {
  const rows = ['a', 'b', 'c'].map((id) => client({ id }))
  const before = nextView(emptyView, rows, all(rows), false)
  const order = (view: typeof before) => view.shown.map((entry) => (entry.gone ? `-${entry.row.id}` : entry.row.id))

  it('keeps the order, strikes leavers through and counts what waits', () => {
    const later = [client({ id: 'd' }), client({ id: 'c' }), client({ id: 'a', rttMs: 99 })]
    const view = nextView(before, later, all(later), true)
    expect(order(view)).toEqual(['a', '-b', 'c'])
    expect(view.pending).toBe(2)
    expect(view.shown[0]!.row.rttMs).toBe(99)
  })

  it('shows everything in order once it is let go', () => {
    const later = [client({ id: 'd' }), client({ id: 'c' })]
    const view = nextView(nextView(before, later, all(later), true), later, all(later), false)
    expect(order(view)).toEqual(['d', 'c'])
    expect(view.pending).toBe(0)
  })

  it('does not call a row gone that only stopped matching the filter', () => {
    const view = nextView(before, [rows[0]!], all(rows), true)
    expect(order(view)).toEqual(['a', 'b', 'c'])
    expect(view.pending).toBe(0)
  })

  it('keeps a struck row struck, and takes it back when the client returns', () => {
    const without = [rows[0]!, rows[2]!]
    const struck = nextView(before, without, all(without), true)
    const again = nextView(struck, without, all(without), true)
    expect(again.shown[1]).toBe(struck.shown[1])
    expect(again.shown[0]).toBe(before.shown[0])
    expect(order(nextView(again, rows, all(rows), true))).toEqual(['a', 'b', 'c'])
  })
})

describe('CSV', () => {
  it('never lets a name become a formula', () => {
    for (const name of ['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', '\r=1', '＝1']) expect(csvField(name)).toBe(`"'${name}"`)
  })

  it('quotes commas, quotes and line breaks', () => {
    expect(csvField('a,b')).toBe('"a,b"')
    expect(csvField('say "hi"')).toBe('"say ""hi"""')
    expect(csvField('two\nlines')).toBe('"two\nlines"')
    expect(csvField('plain')).toBe('plain')
  })

  it('begins with a byte order mark and holds a line per client', () => {
    const text = toCsv([client({ id: 'c1', username: '=cmd', rooms: ['a', 'b'], rttMs: undefined })])
    expect(text.charCodeAt(0)).toBe(0xfeff)
    const lines = text.slice(1).split('\r\n')
    expect(lines).toHaveLength(3)
    expect(lines[0]).toMatch(/^id,userId,username,/)
    expect(lines[1]).toContain(`c1,7,"'=cmd",member`)
    expect(lines[1]).toContain(',a b,')
  })
})

describe('copy as curl', () => {
  it('reaches the shell as it was meant, whatever a reason holds', () => {
    const nasty = [`it's`, '$(touch x)', '`id`', '"quoted"', 'back\\slash', '!history', 'two\nlines', '再见 👋', '@file', '']
    for (const word of nasty) {
      expect(execFileSync('sh', ['-c', `printf %s ${shellQuote(word)}`], { encoding: 'utf8' })).toBe(word)
    }
    const text = toCurl({ method: 'POST', url: 'http://127.0.0.1/api/v1/online/kick?dryRun=true&a=b', body: { reason: `don't; rm -rf $HOME` } })
    const argv = execFileSync('sh', ['-c', `TOKEN=t0; curl() { for a; do printf '%s\\n' "$a"; done; }; ${text}`], { encoding: 'utf8' }).trim().split('\n')
    expect(argv).toEqual([
      '-X', 'POST', 'http://127.0.0.1/api/v1/online/kick?dryRun=true&a=b', '-H', 'Authorization: Bearer t0',
      '-H', 'Content-Type: application/json', '--data-raw', `{"reason":"don't; rm -rf $HOME"}`,
    ])
  })

  it('holds a placeholder where the token goes', () => {
    expect(toCurl({ method: 'GET', url: 'http://127.0.0.1/x' })).toBe(`curl 'http://127.0.0.1/x' -H "Authorization: Bearer $TOKEN"`)
  })
})

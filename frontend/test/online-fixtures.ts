import type { ClientRow } from '../src/stores/online/rows'

export function client(part: Partial<ClientRow> & { id: string }): ClientRow {
  return {
    ip: '203.0.113.7', os: 'Windows 11', browser: 'Chrome 142', firstTime: 1_700_000_000, heartbeatTime: 1_700_000_100, app: '',
    userId: '7', username: 'alice', avatar: '', sessionId: 's1', roles: ['member'], rooms: [],
    connectedAt: '2024-05-14T07:12:13Z', lastSeenAt: '2024-05-14T07:13:53Z', device: 'pc', node: 'a1', rttMs: 12, framesIn: 1,
    framesOut: 2, queueBytes: 0, leaving: false, ...part,
  }
}

/** Repeatable dice (mulberry32): the same seed throws the same numbers on every machine. */
export function random(seed: number): (below: number) => number {
  let a = seed
  return (below) => {
    a = (a + 0x6d2b79f5) | 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4_294_967_296) * below)
  }
}

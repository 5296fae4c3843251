// The live list as data: a snapshot and the differences after it. Nothing here knows Vue, the socket or REST.

import type { LiveCounts, LiveNodes, LiveRow, OnlineDiff } from '@/realtime/events'

export type { OnlineDiff, OnlineRows as RowsDiff } from '@/realtime/events'
export type ClientRow = LiveRow
export type Counts = LiveCounts
export type Nodes = LiveNodes

export interface OnlineState {
  rev: number
  counts: Counts
  rows: Map<string, ClientRow>
}

/**
 * `stale`: the snapshot already has it. `gap`: a difference is missing, subscribe again.
 * `counts`: the server has stopped sending rows, read pages instead.
 */
export type Applied = 'applied' | 'stale' | 'gap' | 'counts'

export const noCounts: Counts = { clients: 0, sessions: 0, users: 0, byRole: {}, byApp: {} }

export const oneNode: Nodes = { answered: 1, expected: 1 }

/** Whether every node is in it. */
export const isWhole = (nodes: Nodes): boolean => nodes.answered >= nodes.expected

export function stateOf(rev: number, rows: ClientRow[], counts: Counts): OnlineState {
  return { rev, counts, rows: new Map(rows.map((row) => [row.id, row])) }
}

/**
 * Applies one difference in place. A difference that began before the snapshot and ends after it overlaps: each of
 * its entries is the final state of one client, so applying it again changes nothing that was already right.
 */
export function applyDiff(state: OnlineState, diff: OnlineDiff): Applied {
  if (diff.rev <= state.rev) return 'stale'
  if (diff.prev > state.rev) return 'gap'
  state.rev = diff.rev
  state.counts = diff.counts
  if (diff.mode === 'counts') return 'counts'

  for (const row of diff.joined) state.rows.set(row.id, row)
  for (const part of diff.changed) {
    const row = state.rows.get(part.id)
    // A new object, so that a view that holds the old one sees that it changed.
    if (row) state.rows.set(part.id, { ...row, ...part })
  }
  for (const { id } of diff.left) state.rows.delete(id)
  return 'applied'
}

/** Counts of a list, for the moments when a snapshot came without any. */
export function countRows(rows: Iterable<ClientRow>): Counts {
  const users = new Map<string, string[]>()
  const sessions = new Set<string>()
  const byApp: Record<string, number> = {}
  let clients = 0
  for (const row of rows) {
    clients += 1
    users.set(row.userId, row.roles)
    sessions.add(row.sessionId)
    byApp[row.app] = (byApp[row.app] ?? 0) + 1
  }
  const byRole: Record<string, number> = {}
  for (const roles of users.values()) for (const role of roles) byRole[role] = (byRole[role] ?? 0) + 1
  return { clients, sessions: sessions.size, users: users.size, byRole, byApp }
}

/** The socket's pushes and calls as this page uses them. */
import type { CoreCalls, CorePushes } from '@rollcall/client'
import type { Counts, OnlineClient } from '@/api/types'

/** Counts without the envelope that REST puts around them. */
export type LiveCounts = Pick<Counts, 'clients' | 'sessions' | 'users' | 'byRole' | 'byApp'>

/** A row as differences carry it: the same for every viewer, hence without `self`. */
export type LiveRow = Omit<OnlineClient, 'self'>

/** Of how many nodes something tells. A difference without it is of the one node there is. */
export interface LiveNodes {
  answered: number
  expected: number
}

export interface OnlineRows {
  mode?: undefined
  rev: number
  prev: number
  joined: LiveRow[]
  left: { id: string; cause: string }[]
  changed: (Pick<LiveRow, 'id'> & Partial<LiveRow>)[]
  counts: LiveCounts
  nodes?: LiveNodes
}

/** Above `online.live_max` clients the server sends counts only. */
export interface OnlineCounts {
  mode: 'counts'
  rev: number
  prev: number
  counts: LiveCounts
  nodes?: LiveNodes
}

export type OnlineDiff = OnlineRows | OnlineCounts

export interface Notice {
  id?: string
  kind: 'notify' | 'notice' | 'letter'
  type: 1 | 2 | 3
  title: string
  content: string
  severity?: 'info' | 'success' | 'warning' | 'error'
}

export interface Pushes extends CorePushes {
  'online/diff': OnlineDiff
  notice: Notice
}

export interface Calls extends CoreCalls {
  'online/subscribe': [Record<string, never>, { rev: number; counts: LiveCounts }]
  'online/unsubscribe': [Record<string, never>, undefined]
}

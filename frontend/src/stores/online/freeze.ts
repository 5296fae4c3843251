// Keeps rows under the pointer where they are: whoever is about to press "kick" must not have another person slide
// under the button. While frozen, values change in place, leavers are struck through, and arrivals wait.
import type { ClientRow } from './rows'

export interface Shown {
  row: ClientRow
  /** The client has left since the order was frozen. */
  gone: boolean
}

export interface View {
  shown: Shown[]
  /** Arrivals that wait and leavers that are struck through. */
  pending: number
}

export const emptyView: View = { shown: [], pending: 0 }

/**
 * The next view. `arranged` is what would be shown if nothing were frozen; `all` is every client, filtered or not:
 * a frozen row that only stopped matching the filter is not gone.
 */
export function nextView(before: View, arranged: ClientRow[], all: ReadonlyMap<string, ClientRow>, frozen: boolean): View {
  if (!frozen) return { shown: arranged.map((row) => ({ row, gone: false })), pending: 0 }

  const held = new Set<string>()
  let left = 0
  const shown = before.shown.map((entry) => {
    held.add(entry.row.id)
    const row = all.get(entry.row.id)
    if (!row) left += 1
    // The same object when nothing changed, so that the row is not drawn again.
    if (row === entry.row && !entry.gone) return entry
    return row ? { row, gone: false } : entry.gone ? entry : { row: entry.row, gone: true }
  })
  const waiting = arranged.reduce((sum, row) => sum + (held.has(row.id) ? 0 : 1), 0)
  return { shown, pending: left + waiting }
}

export interface Holds {
  pointer: boolean
  focus: boolean
  scrolled: boolean
  paused: boolean
}

export function isFrozen(holds: Holds): boolean {
  return holds.pointer || holds.focus || holds.scrolled || holds.paused
}

import { RtError } from './calls.js'

/** How the standing orders below reach the server; nothing is sent while the socket is not open. */
export interface Line {
  readonly isOpen: () => boolean
  request: (event: string, data: unknown, resolve: (data: never) => void, reject: (error: RtError) => void) => void
  guard: (event: string, run: () => void) => void
}

interface Room {
  refs: number
  joined: Promise<void>
  resolve: () => void
  reject: (error: RtError) => void
}

/** Rooms that somebody here is in: counted by reference, joined again after every reconnect. */
export class Rooms {
  readonly #rooms = new Map<string, Room>()
  readonly #line: Line

  constructor(line: Line) {
    this.#line = line
  }

  join(name: string): Promise<void> {
    let room = this.#rooms.get(name)
    if (room) {
      room.refs++
      return room.joined
    }
    let resolve!: Room['resolve']
    let reject!: Room['reject']
    const joined = new Promise<void>((yes, no) => ([resolve, reject] = [yes, no]))
    // Whoever does not wait for the answer is not punished with an unhandled rejection.
    joined.catch(() => {})
    room = { refs: 1, joined, resolve, reject }
    this.#rooms.set(name, room)
    this.#ask(name, room)
    return joined
  }

  quit(name: string): void {
    const room = this.#rooms.get(name)
    if (!room || --room.refs > 0) return
    this.#rooms.delete(name)
    room.resolve()
    if (this.#line.isOpen()) this.#line.request('quit', { id: name }, () => {}, () => {})
  }

  joinAgain(): void {
    for (const [name, room] of this.#rooms) this.#ask(name, room)
  }

  #ask(name: string, room: Room): void {
    if (!this.#line.isOpen()) return
    this.#line.request('join', { id: name }, room.resolve, (error) => {
      // A lost connection is asked again on the next one; a refusal is an answer.
      if (typeof error.code !== 'number') return
      if (this.#rooms.get(name) === room) this.#rooms.delete(name)
      room.reject(error)
    })
  }
}

export interface Subscription {
  /** Asks for a fresh snapshot, as after a gap in the revisions. */
  again: () => void
  unsubscribe: () => void
}

interface Order {
  name: string
  data: unknown
  onReply: (data: never) => void
  onError?: (error: RtError) => void
}

/** `<name>/subscribe` now and after every reconnect; the reply is the snapshot that differences build on. */
export class Subscriptions {
  readonly #orders = new Set<Order>()
  readonly #line: Line

  constructor(line: Line) {
    this.#line = line
  }

  add(order: Order): Subscription {
    this.#orders.add(order)
    this.#ask(order)
    return { again: () => this.#ask(order), unsubscribe: () => this.#remove(order) }
  }

  askAgain(): void {
    for (const order of this.#orders) this.#ask(order)
  }

  #ask(order: Order): void {
    const { name, data, onReply, onError } = order
    if (!this.#orders.has(order) || !this.#line.isOpen()) return
    const event = `${name}/subscribe`
    const ifWanted = (run: () => void) => this.#orders.has(order) && this.#line.guard(event, run)
    this.#line.request(
      event,
      data,
      (reply) => ifWanted(() => onReply(reply)),
      (error) => error.code !== 'disconnected' && ifWanted(() => onError?.(error)),
    )
  }

  #remove(order: Order): void {
    if (!this.#orders.delete(order) || !this.#line.isOpen()) return
    const same = (other: Order) => other.name === order.name && JSON.stringify(other.data) === JSON.stringify(order.data)
    if ([...this.#orders].some(same)) return
    this.#line.request(`${order.name}/unsubscribe`, order.data, () => {}, () => {})
  }
}

/** A WebSocket that a test drives: it holds what was sent and says what the test lets it say. */
export class FakeSocket {
  static all: FakeSocket[] = []
  static get last(): FakeSocket {
    return FakeSocket.all.at(-1)!
  }

  onmessage: ((message: { data: unknown }) => void) | null = null
  onclose: ((close: { code: number; reason: string }) => void) | null = null
  readyState = 0
  readonly sent: { event: string; id?: number; data?: unknown }[] = []
  closedWith: number | undefined
  readonly url: string
  readonly protocols: string[]

  constructor(url: string | URL, protocols: string[] = []) {
    this.url = String(url)
    this.protocols = protocols
    FakeSocket.all.push(this)
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text))
  }

  close(code?: number): void {
    this.closedWith = code
    this.readyState = 3
  }

  receive(frame: unknown): void {
    this.onmessage?.({ data: typeof frame === 'string' ? frame : JSON.stringify(frame) })
  }

  /** The server's first push: only now the client is open. */
  open(data: object = {}): void {
    this.readyState = 1
    this.receive({ event: 'connected', data: { clientId: 'c1', build: 'b1', reconnect: { minMs: 500, maxMs: 20_000 }, ...data }, code: 0, timestamp: 1 })
  }

  end(code: number, reason: object | string = ''): void {
    this.readyState = 3
    this.onclose?.({ code, reason: typeof reason === 'string' ? reason : JSON.stringify(reason) })
  }

  /** Answers the last sent frame of an event. */
  reply(event: string, frame: object = {}): void {
    const { id } = this.sent.findLast((one) => one.event === event)!
    this.receive({ event, id, code: 0, timestamp: 1, ...frame })
  }

  sentEvents(): string[] {
    return this.sent.map(({ event }) => event).filter((event) => event !== 'ping')
  }
}

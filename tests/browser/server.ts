// The real binary on a free port with data of its own, and the page as a person uses it.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { type Browser, type BrowserContextOptions, type Page, test as base, expect } from '@playwright/test'

export const PASSWORD = 'correct horse battery'
export const binary = process.env.ROLLCALL_BIN ?? resolve(__dirname, '../../target/debug/rollcall')

/** Not one that the system hands out to whoever asks for any: it is still free when somebody listens there, and again. */
export const freePort = (): Promise<number> =>
  new Promise((done) => {
    const port = 10_240 + Math.floor(Math.random() * 20_000)
    const listener = createServer().listen(port, '127.0.0.1', () => listener.close(() => done(port)))
    listener.on('error', () => done(freePort()))
  })

export class Server {
  url = ''
  private child?: ChildProcess
  private readonly folder = mkdtempSync(join(tmpdir(), 'rollcall-browser-'))

  async start(listen = '127.0.0.1:0', settings: Record<string, string> = {}) {
    this.child = spawn(binary, ['serve'], {
      stdio: ['ignore', 'pipe', openSync(join(this.folder, 'log'), 'a')],
      env: {
        ...process.env,
        ROLLCALL__SERVER__LISTEN: listen,
        ROLLCALL__SERVER__DRAIN: '100ms',
        ROLLCALL__DATA__DIR: this.folder,
        ROLLCALL__DATABASE__URL: `sqlite://${this.folder}/rollcall.db`,
        ROLLCALL__AUTH__LOGINS_PER_ADDRESS: '0',
        ROLLCALL_ADMIN_PASSWORD: PASSWORD,
        ...settings,
      },
    })
    for await (const line of createInterface({ input: this.child.stdout! })) {
      // The last is where it listens; one before it is server.public_url.
      this.url = line.match(/http:[^\s)]+/g)?.at(-1) ?? ''
      if (this.url) return
    }
    throw new Error(`the server ended before it printed its address: ${readFileSync(join(this.folder, 'log'), 'utf8')}`)
  }

  async stop() {
    const child = this.child
    if (!child || child.exitCode !== null) return
    const ended = new Promise((done) => child.once('exit', done))
    child.kill('SIGTERM')
    await ended
  }

  async remove() {
    await this.stop()
    rmSync(this.folder, { recursive: true, force: true })
  }

  /** A REST call by whoever has the token. */
  async call(method: string, path: string, token = '', body?: unknown) {
    const headers: Record<string, string> = { 'content-type': 'application/json' }
    if (token) headers.authorization = `Bearer ${token}`
    const answer = await fetch(`${this.url}/api/v1${path}`, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) })
    const text = await answer.text()
    return { status: answer.status, body: text ? JSON.parse(text) : undefined }
  }

  async login(username: string, password = PASSWORD): Promise<string> {
    const { status, body } = await this.call('POST', '/auth/login', '', { username, password })
    expect(status, `login of ${username}`).toBe(200)
    return body.accessToken
  }

  /** A new account; its id. */
  async account(username: string, role = 'member'): Promise<string> {
    const admin = await this.login('admin')
    const { status, body } = await this.call('POST', '/users', admin, { username, password: PASSWORD, roles: [role] })
    expect(status).toBe(201)
    return body.id
  }
}

/** A page of a person of their own: cookies and storage apart from everybody else's. */
export async function person(browser: Browser, server: Server, username: string, options: BrowserContextOptions = {}): Promise<Page> {
  const context = await browser.newContext({ locale: 'en-US', ...options })
  const page = await context.newPage()
  await logIn(page, server, username)
  return page
}

export async function logIn(page: Page, server: { url: string }, username: string, password = PASSWORD) {
  await page.goto(`${server.url}/login`)
  await page.locator('#username').fill(username)
  await page.locator('#password').fill(password)
  await page.keyboard.press('Enter')
  await expect(page.locator('.badge')).toHaveAttribute('data-state', 'open')
}

/** The rows of the online table that hold this text. */
export const rowOf = (page: Page, text: string) => page.getByRole('row').filter({ hasText: text })

/** What the console complains of; a request that was meant to fail is no complaint. */
export function complaints(page: Page): string[] {
  const found: string[] = []
  page.on('pageerror', (error) => found.push(String(error)))
  page.on('console', (message) => {
    if (message.type() === 'error' && !/Failed to load resource|WebSocket connection/.test(message.text())) found.push(message.text())
  })
  return found
}

export const test = base.extend<{ server: Server }>({
  server: async ({}, use) => {
    const server = new Server()
    await server.start()
    await use(server)
    await server.remove()
  },
})

export { expect }

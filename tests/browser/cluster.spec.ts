// Three nodes as `make cluster` starts them, and what the pages say while one of them or Redis is gone.
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { binary, complaints, expect, logIn, rowOf, test } from './server'

/** A silent node is suspect at once, and not taken for dead while the test looks. */
const settings = { ROLLCALL__CLUSTER__ANNOUNCE: '200ms', ROLLCALL__CLUSTER__SUSPECT: '1s', ROLLCALL__CLUSTER__DEAD: '10m' }

class Cluster {
  url = ''
  password = ''
  private readonly script = spawn(resolve(__dirname, '../../config/deploy/cluster.sh'), [binary], { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...settings } })
  private again?: ChildProcess

  async start() {
    for await (const line of createInterface({ input: this.script.stdout })) {
      const file = line.match(/^ *password +(.+)$/)?.[1]
      if (file) this.password = readFileSync(file, 'utf8').trim()
      this.url = line.match(/are at (http.*)\/ /)?.[1] ?? ''
      if (this.url) return
    }
    throw new Error('the script ended; what it says is above')
  }

  /** The process that was started with this in its command or its environment. */
  process(sign: string): { pid: number; environment: string[] } {
    const words = (pid: number, what: string) => readFileSync(`/proc/${pid}/${what}`, 'utf8').split('\0').filter(Boolean)
    const children = readFileSync(`/proc/${this.script.pid}/task/${this.script.pid}/children`, 'utf8').trim().split(' ').map(Number)
    const pid = children.find((child) => words(child, 'cmdline')[0]?.includes(sign) || words(child, 'environ').includes(sign))
    if (!pid) throw new Error(`there is no ${sign}`)
    return { pid, environment: words(pid, 'environ') }
  }

  /** A node dies; what starts it again. */
  kill(name: string): () => void {
    const { pid, environment } = this.process(`ROLLCALL__CLUSTER__NODE=${name}`)
    const env = Object.fromEntries(environment.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]))
    process.kill(pid, 'SIGKILL')
    return () => (this.again = spawn(binary, ['serve'], { stdio: 'ignore', env }))
  }

  async stop() {
    this.again?.kill('SIGTERM')
    if (this.script.exitCode !== null) return
    const ended = new Promise((done) => this.script.once('exit', done))
    this.script.kill('SIGTERM')
    await ended
  }
}

test('the pages say of how many nodes they are while one is gone, and while Redis is', async ({ page }) => {
  test.setTimeout(120_000)
  const cluster = new Cluster()
  try {
    await cluster.start()
    const errors = complaints(page)
    await logIn(page, cluster, 'admin', cluster.password)
    await page.goto(`${cluster.url}/online`)
    const note = page.locator('.online .note')
    await expect(rowOf(page, 'admin')).toHaveCount(1)
    await expect(note).toHaveCount(0)

    const startAgain = cluster.kill('n3')
    // The socket may have been there, and comes back elsewhere.
    await expect(note).toHaveText('2 of 3 nodes answer: clients of the others are missing or may have left', { timeout: 30_000 })
    await page.getByRole('link', { name: 'Nodes' }).click()
    await expect(rowOf(page, 'n3').getByText('suspect', { exact: true })).toBeVisible()
    await expect(page.locator('[data-test=sum]')).toContainText('2 of 3 nodes taking clients')
    startAgain()
    await expect(page.locator('[data-test=sum]')).toContainText('3 of 3 nodes taking clients', { timeout: 30_000 })

    const redis = cluster.process('redis-server').pid
    process.kill(redis, 'SIGSTOP')
    await expect(page.locator('[data-test=sum]')).toContainText('1 of 3 nodes taking clients', { timeout: 30_000 })
    await page.getByRole('link', { name: 'Online users' }).click()
    await expect(note).toHaveText('1 of 3 nodes answer: clients of the others are missing or may have left', { timeout: 30_000 })
    process.kill(redis, 'SIGCONT')
    await expect(note).toHaveCount(0, { timeout: 30_000 })
    await expect(rowOf(page, 'admin')).toHaveCount(1)
    expect(errors).toEqual([])
  } finally {
    await cluster.stop()
  }
})

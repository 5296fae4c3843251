// Where the page stands: under a base path behind nginx, and at an address where nobody should type a password.
import { type ChildProcess, spawn } from 'node:child_process'
import { resolve } from 'node:path'
import { complaints, expect, freePort, logIn, PASSWORD, rowOf, Server, test as base } from './server'

/** The server behind nginx, as a person reaches it. */
const test = base.extend<{ how: string; front: Server }>({
  how: ['stripped', { option: true }],
  front: async ({ how }, use) => {
    const [server, port] = [new Server(), await freePort()]
    const url = `http://127.0.0.1:${port}/rollcall`
    await server.start('127.0.0.1:0', { ROLLCALL__SERVER__PUBLIC_URL: `${url}/` })
    const nginx: ChildProcess = spawn(resolve(__dirname, '../nginx.sh'), [`127.0.0.1:${port}`, server.url.slice('http://'.length), how], {
      stdio: ['pipe', 'inherit', 'inherit'],
    })
    server.url = url
    await expect.poll(() => fetch(`${url}/health/live`).then((answer) => answer.status, () => 0)).toBe(200)
    await use(server)
    const ended = new Promise((done) => nginx.once('exit', done))
    nginx.stdin!.end()
    await ended
    await server.remove()
  },
})

for (const how of ['stripped', 'whole']) {
  test.describe(`the base path ${how}`, () => {
    test.use({ how })
    test('the page works under a base path behind nginx', async ({ page, front }) => {
      const errors = complaints(page)
      const elsewhere: string[] = []
      page.on('request', (request) => {
        if (!request.url().startsWith(`${front.url}/`) && !request.url().startsWith('data:')) elsewhere.push(request.url())
      })
      await logIn(page, front, 'admin')
      await expect(page).toHaveURL(`${front.url}/online`)
      await expect(rowOf(page, 'admin')).toBeVisible()
      await page.goto(`${front.url}/account`)
      await page.reload()
      await expect(page.getByRole('heading', { name: 'My account' })).toBeVisible()
      await expect(page.locator('.badge')).toHaveAttribute('data-state', 'open')
      const cookies = await page.context().cookies(`${front.url}/`)
      expect(cookies.map(({ name, path }) => [name, path])).toEqual([['rollcall_refresh', '/rollcall/']])
      await page.goto(`${front.url}/docs`)
      await expect(page.getByText('/auth/login').first()).toBeVisible()
      await page.goto(`${front.url.replace('/rollcall', '')}/rollcall`)
      await expect(page).toHaveURL(`${front.url}/online`)
      await page.getByRole('button', { name: 'User menu' }).click()
      await page.getByText('Log out').click()
      await expect(page).toHaveURL(new RegExp(`^${front.url}/login`))
      expect(elsewhere.filter((url) => !url.endsWith('/rollcall'))).toEqual([])
      expect(errors).toEqual([])
    })
  })
}

test('over plain http from another machine the login page says why there is no login', async ({ browser }) => {
  const server = new Server()
  await server.start('127.0.0.1:0', { ROLLCALL__SERVER__TRUSTED_PROXIES: '127.0.0.1/32' })
  for (const [locale, words] of [['en-US', 'Logging in is off at this address'], ['zh-CN', '此地址不允许登录']] as const) {
    const context = await browser.newContext({ locale, extraHTTPHeaders: { 'x-forwarded-for': '192.0.2.7' } })
    const page = await context.newPage()
    await page.goto(`${server.url}/`)
    await expect(page.getByRole('heading', { name: words })).toBeVisible()
    await expect(page.getByText('server.insecure_http = true')).toBeVisible()
    await expect(page.locator('#password')).toHaveCount(0)
    await context.close()
  }
  const answer = await fetch(`${server.url}/api/v1/auth/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-forwarded-for': '192.0.2.7' },
    body: JSON.stringify({ username: 'admin', password: PASSWORD }),
  })
  expect([answer.status, (await answer.json()).code]).toEqual([403, 'insecure_http'])
  await server.remove()
})

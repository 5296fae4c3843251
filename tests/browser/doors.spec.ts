// What a browser is told that may not come in, and what the page never does.
import { type Page } from '@playwright/test'
import { violations } from './axe'
import { complaints, expect, PASSWORD, person, rowOf, type Server, test } from './server'

/** Opens a socket from the page as any site's own script would; how it ended. */
const closed = (page: Page, server: Server, credential: string) =>
  page.evaluate(
    ([url, word]) =>
      new Promise<{ code: number; reason: string; opened: boolean }>((done) => {
        const socket = new WebSocket(url!, ['rollcall.v1', word!])
        let opened = false
        socket.onopen = () => (opened = true)
        socket.onclose = ({ code, reason }) => done({ code, reason, opened })
      }),
    [server.url.replace('http', 'ws') + '/socket', credential],
  )

test('a browser that may not come in is let in, told why and sent away', async ({ page, server }) => {
  const [disabled, locked, kicked] = [await server.account('dan'), await server.account('eve'), await server.account('bob')]
  const [dan, eve, bob] = [await server.login('dan'), await server.login('eve'), await server.login('bob')]
  const admin = await server.login('admin')
  await server.call('PATCH', `/users/${disabled}`, admin, { disabled: true })
  await server.call('DELETE', `/online/users/${locked}`, admin, { reason: 'Enough.', lockoutSeconds: 600 })
  await server.call('DELETE', `/online/users/${kicked}`, admin, { reason: 'Come back tomorrow.' })
  await page.goto(`${server.url}/login`)
  for (const [credential, code, text] of [
    ['bearer.nonsense', 4401, ''],
    ['ticket.nonsense', 4401, ''],
    [`bearer.${bob}`, 4401, 'Come back tomorrow.'],
    [`bearer.${dan}`, 4403, ''],
    [`bearer.${eve}`, 4429, 'Enough.'],
  ] as const) {
    const ended = await closed(page, server, credential)
    expect([ended.opened, ended.code], credential.slice(0, 20)).toEqual([true, code])
    expect(ended.reason).toContain(text)
    expect(JSON.parse(ended.reason).reason).toBeTruthy()
  }
  const counts = await server.call('GET', '/online/counts', admin)
  expect(counts.body.clients).toBe(0)
})

test('the page makes no second attempt after it was shown the door', async ({ browser, server }) => {
  const id = await server.account('bob')
  const bob = await person(browser, server, 'bob')
  const attempts: string[] = []
  bob.on('websocket', (socket) => attempts.push(socket.url()))
  await server.call('DELETE', `/online/users/${id}`, await server.login('admin'), { reason: 'Out.' })
  await expect(bob.getByText('Out.')).toBeVisible()
  // Longer than the shortest wait before a reconnect.
  await bob.waitForTimeout(1_500)
  expect(attempts).toEqual([])
})

test('no token is in the address or in any storage, and no page breaks the policy', async ({ browser, server }) => {
  const admin = await person(browser, server, 'admin')
  const errors = complaints(admin)
  const addresses: string[] = []
  admin.on('request', (request) => addresses.push(request.url()))
  admin.on('websocket', (socket) => addresses.push(socket.url()))
  for (const path of ['/online', '/nodes', '/account', '/nowhere', '/login']) {
    await admin.goto(`${server.url}${path}`)
    await expect(admin.locator('main, form').first()).toBeVisible()
  }
  await admin.goto(`${server.url}/online`)
  await expect(rowOf(admin, 'admin')).toHaveCount(1)
  const stored = await admin.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]))
  expect(stored).not.toMatch(/eyJ/)
  expect(addresses.filter((address) => /eyJ|ticket=|token=/.test(address))).toEqual([])
  expect(errors).toEqual([])
})

test('the API documentation renders under its own policy', async ({ page, server }) => {
  const errors = complaints(page)
  await page.goto(`${server.url}/docs`)
  await expect(page.getByText('/online/clients', { exact: true }).first()).toBeVisible()
  expect(errors).toEqual([])
})

test('Chinese and English, light and dark', async ({ browser, server }) => {
  const page = await person(browser, server, 'admin', { locale: 'zh-CN', colorScheme: 'dark' })
  await page.goto(`${server.url}/online`)
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('在线用户')
  const dark = await page.evaluate(() => getComputedStyle(document.body).backgroundColor)
  await page.emulateMedia({ colorScheme: 'light' })
  await expect.poll(() => page.evaluate(() => getComputedStyle(document.body).backgroundColor)).not.toBe(dark)
  await page.locator('button.switch[lang=en]').click()
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Online users')
})

for (const colorScheme of ['light', 'dark'] as const) {
  test(`every page can be used without eyes or mouse (${colorScheme})`, async ({ browser, server }) => {
    await server.account('bob')
    await person(browser, server, 'bob')
    const context = await browser.newContext({ colorScheme, locale: 'en-US', reducedMotion: 'reduce' })
    const page = await context.newPage()
    await page.goto(`${server.url}/login`)
    await expect(page.locator('#username')).toBeVisible()
    expect(await violations(page)).toEqual([])
    await page.locator('#username').fill('admin')
    await page.locator('#password').fill(PASSWORD)
    await page.keyboard.press('Enter')
    await expect(page.locator('.badge')).toHaveAttribute('data-state', 'open')
    await page.goto(`${server.url}/online`)
    await expect(rowOf(page, 'bob')).toHaveCount(1)
    expect(await violations(page)).toEqual([])
    await rowOf(page, 'bob').getByRole('button', { name: 'Kick bob' }).click()
    await expect(page.getByText('This ends 1 client of 1 user')).toBeVisible()
    expect(await violations(page)).toEqual([])
    await page.keyboard.press('Escape')
    await expect(page.getByRole('dialog')).toHaveCount(0)
    await page.goto(`${server.url}/account`)
    await expect(page.getByText('This session').first()).toBeVisible()
    expect(await violations(page)).toEqual([])
    await page.goto(`${server.url}/nodes`)
    await page.getByRole('button', { name: /^Drain/ }).click()
    await expect(page.getByText('Clients a second')).toBeVisible()
    expect(await violations(page)).toEqual([])
  })
}

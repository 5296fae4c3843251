// Who tried to log in and who did what, as somebody who looks into it reads it.
import { readFileSync } from 'node:fs'
import type { Page } from '@playwright/test'
import { violations } from './axe'
import { complaints, expect, person, test } from './server'

const shot = (page: Page, name: string) => (process.env.ROLLCALL_SHOTS ? page.screenshot({ path: `${process.env.ROLLCALL_SHOTS}/${name}.png` }) : undefined)

for (const colorScheme of ['light', 'dark'] as const) {
  test(`a failed login is found, an act shows what was before, and both are saved as files (${colorScheme})`, async ({ browser, server }) => {
    const bob = await server.account('bob')
    const token = await server.login('admin')
    await server.call('POST', '/auth/login', '', { username: 'bob', password: 'a wrong password' })
    await server.call('PATCH', `/users/${bob}`, token, { displayName: 'Bobby', reason: 'as he likes it' })
    const admin = await person(browser, server, 'admin', { colorScheme, reducedMotion: 'reduce' })
    const errors = complaints(admin)
    await admin.getByRole('link', { name: 'Logs' }).click()
    const rows = admin.locator('tbody tr')
    await expect(rows.filter({ hasText: 'wrong name or password' })).toHaveCount(1)
    expect(await violations(admin)).toEqual([])
    await shot(admin, `logins-${colorScheme}`)
    await admin.getByLabel('Username has').fill('bob')
    await admin.keyboard.press('Enter')
    await expect(rows).toHaveCount(1)
    await expect(admin).toHaveURL(/username=bob/)

    await admin.getByRole('tab', { name: 'Audit' }).click()
    await expect(admin).toHaveURL(/tab=audit$/)
    const saved = admin.waitForEvent('download')
    await admin.getByRole('button', { name: 'Export CSV' }).click()
    const file = readFileSync(await (await saved).path(), 'utf8')
    expect(file).toContain('user.name')
    await rows.filter({ hasText: 'user.name' }).getByRole('button').click()
    const drawer = admin.getByRole('dialog')
    await expect(drawer.getByText('Bobby')).toBeVisible()
    await expect(drawer.getByText('as he likes it')).toBeVisible()
    expect(await violations(admin)).toEqual([])
    await shot(admin, `audit-${colorScheme}`)
    // A link shows what its sender saw.
    await admin.reload()
    await expect(admin.getByRole('dialog').getByText('Bobby')).toBeVisible()
    await admin.keyboard.press('Escape')
    await expect(admin.getByRole('dialog')).toHaveCount(0)
    await expect(admin).not.toHaveURL(/row=/)
    expect(errors).toEqual([])
  })
}

test('on a phone the logs are usable, for those who may read them', async ({ browser, server }) => {
  await server.account('bob')
  const admin = await person(browser, server, 'admin', { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true })
  await admin.goto(`${server.url}/logs?tab=audit`)
  await expect(admin.locator('tbody tr').filter({ hasText: 'user.create' }).first()).toBeVisible()
  expect(await admin.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390)
  await shot(admin, 'phone')
  const bob = await person(browser, server, 'bob')
  await expect(bob.getByRole('link', { name: 'Logs' })).toHaveCount(0)
  await bob.goto(`${server.url}/logs`)
  await expect(bob.getByText('Not permitted')).toBeVisible()
})

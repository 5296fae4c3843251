// Emptying a node, as an operator does it before a restart.
import { complaints, expect, person, test } from './server'

test('an administrator drains the node, sees how far it is, and resumes it', async ({ browser, server }) => {
  await server.account('bob')
  const bob = await person(browser, server, 'bob')
  const admin = await person(browser, server, 'admin')
  const errors = complaints(admin)
  await admin.getByRole('link', { name: 'Nodes' }).click()
  const row = admin.locator('tbody tr')
  await expect(row).toHaveCount(1)
  await expect(row.getByText('up', { exact: true })).toBeVisible()
  await expect(admin.locator('[data-test=sum]')).toHaveText('1 of 1 node taking clients · 2 clients')

  await row.getByRole('button', { name: /^Drain/ }).click()
  const drain = admin.getByRole('dialog')
  await expect(drain.getByText('No other node takes clients')).toBeVisible()
  await drain.getByRole('button', { name: 'Drain', exact: true }).click()
  await expect(row.getByText('draining', { exact: true })).toBeVisible()
  await expect(row.getByText('Nobody is left')).toBeVisible()
  for (const page of [bob, admin]) await expect(page.locator('.badge')).not.toHaveAttribute('data-state', 'open')
  expect((await fetch(`${server.url}/health/ready`)).status).toBe(503)

  await row.getByRole('button', { name: /^Resume/ }).click()
  await admin.getByRole('dialog').getByRole('button', { name: 'Resume', exact: true }).click()
  await expect(row.getByText('up', { exact: true })).toBeVisible()
  // Both come back by themselves.
  for (const page of [bob, admin]) await expect(page.locator('.badge')).toHaveAttribute('data-state', 'open', { timeout: 40_000 })
  expect(errors).toEqual([])
})

test('on a phone the nodes are usable, for those who may see them', async ({ browser, server }) => {
  await server.account('bob')
  const admin = await person(browser, server, 'admin', { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true })
  await admin.goto(`${server.url}/nodes`)
  await expect(admin.locator('tbody tr').getByText('this one')).toBeVisible()
  expect(await admin.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390)
  await expect(admin.locator('tbody tr').getByRole('button', { name: /^Drain/ })).toBeVisible()
  const bob = await person(browser, server, 'bob')
  await expect(bob.getByRole('link', { name: 'Nodes' })).toHaveCount(0)
  await bob.goto(`${server.url}/nodes`)
  await expect(bob.getByText('Not permitted')).toBeVisible()
})

// Somebody who is asked for a new password: nothing else works until there is one.
import { PASSWORD, expect, test } from './server'

test.use({ locale: 'en-US' })

test('who needs a new password is led to it, sets it, and goes on', async ({ server, page }) => {
  const admin = await server.login('admin')
  const user = await server.account('vera', 'operator')
  expect((await server.call('PATCH', `/users/${user}`, admin, { mustChangePassword: true })).status).toBe(200)
  await page.goto(`${server.url}/login`)
  await page.locator('#username').fill('vera')
  await page.locator('#password').fill(PASSWORD)
  await page.keyboard.press('Enter')
  const needed = page.getByText('A new password is needed first')
  await expect(needed).toBeVisible()
  await page.goto(`${server.url}/online`)
  await expect(page).toHaveURL(/account$/)
  await expect(needed).toBeVisible()
  await page.locator('#password-current').fill(PASSWORD)
  await page.locator('#password-next').fill('quite another password')
  await page.locator('#password-repeat').fill('quite another password')
  await page.getByRole('button', { name: 'Change password' }).click()
  await expect(needed).toBeHidden()
  await page.getByRole('navigation').getByRole('link', { name: 'Online' }).click()
  await expect(page.locator('.badge')).toHaveAttribute('data-state', 'open')
})

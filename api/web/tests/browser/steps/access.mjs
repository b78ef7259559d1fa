// Accounts and what everybody has done, as an administrator sees to them.
import assert from 'node:assert/strict'
import { PASSWORD } from '../demo.mjs'

const row = (window, text) => window.page.locator('[role=row]', { hasText: text })

export default {
  async 'an account is made, demoted and closed, and the audit log tells of it'(world) {
    const { admin } = world
    admin.expected = [/status of (409|422)/]
    await admin.open('/users')
    await admin.page.locator('[data-new]').click()
    const drawer = admin.page.locator('.el-drawer')
    await drawer.getByLabel('User name').fill('mia')
    await drawer.getByLabel('Password').fill('short')
    await drawer.getByRole('button', { name: 'Make account' }).click()
    await drawer.locator('.field', { has: admin.page.getByLabel('Password') }).locator('[role=alert]').waitFor()
    await admin.shot('account-refused')
    await drawer.getByLabel('Password').fill(PASSWORD)
    await admin.choose('Role', 'operator', drawer)
    await drawer.getByRole('button', { name: 'Make account' }).click()
    await row(admin, 'mia').getByText('operator').waitFor()

    const mia = await world.visitor()
    mia.expected = [/status of 401/]
    await mia.signIn('mia', PASSWORD)
    assert.equal(await mia.page.getByRole('link', { name: 'Users' }).count(), 0)
    await row(admin, 'mia').click()
    await drawer.getByText('Close account').first().waitFor()
    await drawer.getByRole('button', { name: 'Close account' }).click()
    await row(admin, 'mia').getByText('closed').waitFor()
    await mia.page.getByText('Your session has ended').waitFor()
    await mia.page.context().close()

    await row(admin, 'admin').first().click()
    await admin.choose('Role', 'viewer', drawer)
    await drawer.getByRole('button', { name: 'Save' }).click()
    await drawer.locator('[role=alert]').waitFor()
    await admin.page.keyboard.press('Escape')

    await admin.open('/audit?target=mia')
    await row(admin, 'user.').first().waitFor()
    await admin.page.getByRole('button', { name: 'user.change' }).first().click()
    await admin.page.getByText(/disabled/).first().waitFor()
    await admin.shot('audit')
    const link = await admin.page.getByRole('link', { name: 'CSV' }).getAttribute('href')
    const csv = await (await admin.page.request.get(admin.origin + link)).text()
    assert.match(csv, /mia/)
  },

  async 'a freeze is seen by everybody, holds tasks up, and is lifted'(world) {
    const { admin } = world
    const other = await world.second(admin, 1)
    await admin.open('/clusters')
    await row(admin, 'default').click()
    const drawer = admin.page.locator('.el-drawer')
    await drawer.getByLabel('why; everybody sees it').fill('network maintenance')
    await drawer.getByRole('button', { name: 'Freeze' }).click()
    await admin.page.locator('[data-freeze]').getByText('network maintenance').waitFor()
    await admin.shot('frozen')
    await other.select(15, 16)
    await other.page.locator('[data-freeze]').getByText('network maintenance').waitFor()
    await other.label('frozen', 'yes', 2)
    await other.panel.locator('[role=listitem]').first().waitFor()
    assert.equal(await other.count('succeeded'), 0)
    await row(admin, 'default').click()
    await drawer.getByRole('button', { name: 'Lift the freeze' }).click()
    await admin.page.locator('[data-freeze]').waitFor({ state: 'detached' })
    await other.status('completed')
    assert.equal(await other.count('succeeded'), 2)
    await other.page.close()
  },
}

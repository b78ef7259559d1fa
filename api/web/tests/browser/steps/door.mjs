// In, out, and in again in the middle of something.
import assert from 'node:assert/strict'
import { PASSWORD } from '../demo.mjs'

const BUDGET = 400 * 1024

export default {
  async 'a wrong password is refused, the right one opens the door'({ admin }) {
    admin.expected = [/status of (401|422)/]
    const loaded = []
    admin.page.on('response', (response) => loaded.push(response))
    await admin.open('/')
    await admin.page.locator('input[name=username]').fill('admin')
    await admin.page.locator('input[name=password]').fill('wrong')
    await admin.page.locator('button[type=submit]').click()
    await admin.page.locator('[role=alert]').waitFor()
    await admin.signIn('admin', PASSWORD)
    const sizes = await Promise.all(loaded.filter((r) => !r.url().includes('/api/')).map((r) => r.request().sizes().then((s) => Math.max(0, s.responseBodySize)).catch(() => 0)))
    admin.page.removeAllListeners('response')
    const total = sizes.reduce((sum, size) => sum + size, 0)
    console.log(`    first load: ${Math.round(total / 1024)} KB as sent, of ${BUDGET / 1024}`)
    assert(total > 0 && total < BUDGET)
  },

  async 'a session that ends in the middle is renewed without losing the drawer'({ admin }) {
    admin.expected = [/status of 401/]
    await admin.select(1, 3)
    await admin.begin('Label')
    await admin.setPair('kept', 'yes')
    await admin.drawer.getByText('3 will change').first().waitFor()
    await admin.page.context().clearCookies()
    await admin.field('Reason').fill('the session ends meanwhile')
    await admin.page.getByText('Your session has ended').waitFor()
    await admin.page.getByText('Signed out').first().waitFor()
    await admin.shot('session-lost')
    // By the keyboard alone: it is at the password, stays in the dialog, and Escape costs nobody their work.
    const focused = (name) => admin.page.waitForFunction((wanted) => document.activeElement?.getAttribute('name') === wanted, name)
    await focused('password')
    await admin.page.keyboard.press('Escape')
    await admin.page.keyboard.press('Shift+Tab')
    await focused('username')
    await admin.page.keyboard.press('Shift+Tab')
    assert(await admin.page.evaluate(() => document.activeElement.closest('[role=dialog]')?.getAttribute('aria-label') === 'Sign in'))
    await admin.page.keyboard.press('Tab')
    await focused('username')
    await admin.page.keyboard.press('Tab')
    await admin.page.keyboard.type(PASSWORD)
    await admin.page.keyboard.press('Enter')
    await admin.page.getByText('Your session has ended').waitFor({ state: 'detached' })
    assert.deepEqual([await admin.field('key').inputValue(), await admin.field('value').inputValue()], ['kept', 'yes'])
    await admin.page.getByText('3 of 60 selected').waitFor()
    // And it works: what was refused is asked again without a further word.
    await admin.preview('3 will change')
    await admin.start.click()
    await admin.status('completed')
    await admin.panel.locator('[data-state=live]').waitFor()
  },

  async 'a session that ends at the start costs neither the draft nor a second task'({ admin }) {
    admin.expected = [/status of 401/]
    await admin.select(28, 29)
    await admin.begin('Label')
    await admin.setPair('started', 'once')
    await admin.preview('2 will change')
    await admin.page.context().clearCookies()
    await admin.start.click()
    await admin.page.locator('input[name=password]').fill(PASSWORD)
    await admin.page.locator('.door button[type=submit]').click()
    await admin.page.locator('.door').waitFor({ state: 'detached' })
    await admin.drawer.getByText('+ started=once').first().waitFor()
    await admin.start.click()
    await admin.status('completed')
    assert.equal(await admin.count('succeeded'), 2)
    assert.equal(await admin.drawer.locator('[role=alert]').count(), 0)
  },

  async 'a personal token is shown once, works, and is revoked'({ admin }) {
    await admin.open('/account')
    await admin.page.locator('[data-new]').click()
    await admin.page.getByLabel('Name', { exact: true }).fill('nightly labels')
    await admin.choose('Role', 'viewer')
    await admin.page.getByRole('button', { name: 'Make token' }).click()
    const secret = await admin.page.locator('[data-secret]').textContent()
    const asked = async () => {
      const answer = await fetch(`${admin.origin}/api/v1/auth/me`, { headers: { authorization: `Bearer ${secret}` } })
      return [answer.status, (await answer.json()).role]
    }
    assert.deepEqual(await asked(), [200, 'viewer'])
    await admin.page.getByRole('button', { name: 'I have it' }).click()
    await admin.page.reload()
    await admin.page.getByText('nightly labels').waitFor()
    assert.equal(await admin.page.getByText(secret).count(), 0)
    await admin.page.getByLabel('Revoke nightly labels').click()
    await admin.page.getByText('You have no tokens.').waitFor()
    assert.equal((await asked())[0], 401)
  },

  async 'whoever signs out leaves nothing behind'({ admin }) {
    admin.expected = [/status of 401/]
    await admin.select(1, 2)
    await admin.begin('Cordon')
    await admin.page.keyboard.press('Escape')
    await admin.page.locator('.who').click()
    await admin.page.getByRole('button', { name: 'Sign out' }).click()
    await admin.page.locator('input[name=username]').waitFor()
    await admin.signIn('admin', PASSWORD)
    assert.equal(await admin.bar.count(), 0)
    assert(!(await admin.drawer.isVisible()))
  },
}

// Both languages, both themes: nothing is cut, everything can be read, and the choice stays.
import assert from 'node:assert/strict'
import { audit } from '../audit.mjs'

export default {
  async 'the language is the one of the browser'(world) {
    const other = await world.visitor(0, 'zh-CN')
    await other.open('/')
    await other.page.getByRole('button', { name: '登录' }).waitFor()
    assert.equal(await other.page.evaluate(() => document.documentElement.lang), 'zh-CN')
    await other.page.context().close()
  },

  async 'the language and the theme are switched, and stay'({ admin }) {
    await admin.open('/nodes')
    await admin.page.getByLabel('Language').click()
    await admin.page.getByRole('link', { name: '节点' }).waitFor()
    await admin.page.getByLabel('浅色或深色').click()
    await admin.page.reload()
    await admin.page.getByRole('link', { name: '节点' }).waitFor()
    assert(await admin.page.evaluate(() => document.documentElement.classList.contains('dark')))
    await admin.shot('chinese-dark')
    await admin.page.getByLabel('语言').click()
    await admin.page.getByLabel('Light or dark').click()
  },

  async 'no word is cut and all can be read, in both languages and both themes'({ admin }) {
    const page = admin.page
    await admin.open('/tasks')
    const task = new URL(await page.locator('[role=row] a').first().getAttribute('href'), admin.origin).pathname
    const found = []
    for (const language of ['en', 'zh']) {
      for (const theme of ['light', 'dark']) {
        await page.evaluate(([language, theme]) => {
          localStorage.setItem('knm.language', language)
          localStorage.setItem('knm.theme', theme)
        }, [language, theme])
        for (const path of ['/nodes?node=node-0001', `/nodes?task=${task.split('/').pop()}`, '/tasks', task, '/clusters', '/users', '/audit', '/account', '/nodes?cluster=nowhere']) {
          await admin.open(path)
          await page.locator('[role=row], [role=listitem], [data-missing], main li, main form').first().waitFor()
          found.push(...(await audit(page)).map((fault) => `${language} ${theme} ${path}: ${fault}`))
        }
      }
    }
    await page.evaluate(() => localStorage.clear())
    assert.deepEqual(found, [])
  },
}

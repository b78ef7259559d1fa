// What goes wrong between the task and the page, and between the page and its files.
import assert from 'node:assert/strict'
import { killContainer } from '../demo.mjs'

/** What browsers write themselves when a connection ends, and what the api answers without its relay. */
const SOCKETS = [/WebSocket connection to/, /ERR_/, /status of 50[234]/]

export default {
  async 'the relay dies in the middle: the page says so, resumes, and both windows end with exact counts'(world) {
    const { admin, demo } = world
    admin.expected = SOCKETS
    await world.slow(1000)
    await admin.select(1, 40)
    await admin.labelInTurn('survives', 40)
    await admin.until('succeeded', 2)
    const second = await world.second(admin, 1)
    await second.page.goto(admin.page.url().replace(admin.origin, second.origin))
    await second.status('running')
    await killContainer(demo, 'knm-relay', 'pod-a')
    await admin.page.locator('[data-task] [data-state]:not([data-state=live])').waitFor()
    await admin.shot('relay-killed')
    await admin.page.locator('[data-task] [data-state=live]').waitFor()
    await admin.panel.getByRole('button', { name: /Pause/ }).click()
    await admin.status('paused')
    await second.status('paused')
    await second.panel.getByRole('button', { name: /Resume/ }).click()
    await world.quick()
    for (const window of [admin, second]) {
      await window.status('completed')
      assert.equal(await window.count('succeeded'), 40)
    }
    await second.page.close()
    await admin.page.reload()
    await admin.status('completed')
    assert.equal(await admin.count('succeeded'), 40)
    assert.equal(await admin.matched('survives'), 40)
  },

  async 'without any WebSocket the page reads and still ends'(world) {
    const window = await world.second(world.admin, 0)
    window.expected = SOCKETS
    await world.slow(900)
    await window.page.routeWebSocket(/progress\/ws/, (socket) => socket.close())
    await window.select(1, 12)
    await window.label('polled', 'yes', 12)
    await window.page.locator('[data-task] [data-state=reading]').waitFor()
    await window.shot('polling')
    await window.status('completed')
    assert.equal(await window.count('succeeded'), 12)
    await window.page.close()
  },

  async 'a task of one pod is watched through the other, and the tray brings it back'(world) {
    const { admin } = world
    const second = await world.second(admin, 1)
    await second.open('/nodes')
    await second.page.locator('.tray').waitFor()
    await world.slow(1000)
    await admin.select(1, 20)
    await admin.labelInTurn('tray', 20)
    await admin.page.keyboard.press('Escape')
    await admin.page.waitForURL((url) => !url.searchParams.has('task'))
    for (const window of [second, admin]) {
      await window.page.locator('.tray').click()
      await window.page.locator('.list .line').first().click()
      await window.page.waitForURL(/task=/)
      await window.status('running')
    }
    await world.quick()
    for (const window of [admin, second]) {
      await window.status('completed')
      assert.equal(await window.count('succeeded'), 20)
    }
    await second.page.close()
  },

  async 'a part that an upgrade has removed is asked for anew, once'(world) {
    const { admin } = world
    admin.expected = [/status of 404/, /dynamically imported module/]
    await admin.open('/nodes')
    await admin.page.locator('[role=row] .name').first().waitFor()
    const gone = (route) => route.fulfill({ status: 404, body: '' })
    let loads = 0
    const counted = (request) => (loads += Number(request.isNavigationRequest()))
    admin.page.on('request', counted)
    // The page asks twice, once ahead of time.
    await admin.page.route(/assets\/TasksPage-.*\.js/, (route) => (loads ? route.fallback() : gone(route)))
    await admin.page.getByRole('link', { name: 'Tasks' }).click()
    await admin.page.locator('[role=row] a').first().waitFor()
    assert.deepEqual([loads, admin.url.pathname], [1, '/tasks'])

    // Still gone: the page says so and does not go round and round.
    await admin.page.unrouteAll()
    await admin.open('/nodes')
    await admin.page.locator('[role=row] .name').first().waitFor()
    await admin.page.route(/assets\/TaskPage-.*\.js/, gone)
    loads = 0
    await admin.page.getByRole('link', { name: 'Tasks' }).click()
    await admin.page.locator('[role=row] a').first().click()
    const note = admin.page.getByText('A part of this page could not be loaded')
    await note.waitFor()
    assert.equal(loads, 0)
    await admin.shot('outdated')
    await admin.page.unrouteAll()
    await admin.page.getByRole('button', { name: 'Reload' }).click()
    await note.waitFor({ state: 'detached' })
    admin.page.off('request', counted)
  },
}

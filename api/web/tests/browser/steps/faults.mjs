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

  async 'the page says how changes reach it: by the relay reading, while it catches up, and not at all'(world) {
    const window = await world.second(world.admin, 0)
    const { page } = window
    window.expected = SOCKETS
    let relay
    let refused = false
    await page.routeWebSocket(/progress\/ws/, (socket) => {
      if (refused) return socket.close()
      relay = socket
      const server = socket.connectToServer()
      server.onMessage((text) => socket.send(text))
      socket.onMessage((text) => server.send(text))
    })
    await window.open('/nodes')
    const pill = page.locator('header [data-state]')
    const state = (name) => page.locator(`header [data-state=${name}]`).waitFor()
    await state('live')
    const mode = (mode, more = {}) => relay.send(JSON.stringify({ type: 'mode', mode, since: new Date().toISOString(), ...more }))
    mode('polling', { reason: 'listener lost', poll_interval_ms: 10_000 })
    await state('polling')
    await pill.getByText('every 10 s').waitFor()
    mode('catching_up')
    await state('catching_up')
    await window.shot('catching-up')
    mode('live')
    await state('live')
    refused = true
    await relay.close()
    await state('reading')
    await page.route('**/api/v1/**', (route) => route.abort())
    await state('offline')
    await window.shot('offline')
    await page.unroute('**/api/v1/**')
    await state('reading')
    refused = false
    await state('live')
    await page.close()
  },

  async 'five to ten nodes are labelled through the other pod, and the first shows it'(world) {
    const { admin } = world
    const second = await world.second(admin, 1)
    await second.select(41, 47)
    await second.label('through', 'pod-b', 7)
    await second.status('completed')
    assert.equal(await second.count('succeeded'), 7)
    await admin.open(`/tasks/${second.url.searchParams.get('task')}`)
    await admin.status('completed')
    assert.equal(await admin.count('succeeded'), 7)
    assert.equal(await admin.matched('through=pod-b'), 7)
    // By the end of its id, as lists show it.
    await admin.open('/nodes')
    await admin.page.locator('[role=row] .name').first().waitFor()
    await admin.page.keyboard.press('/')
    await admin.page.keyboard.type(second.url.searchParams.get('task').slice(-12))
    await admin.page.keyboard.press('Enter')
    await admin.page.waitForURL((url) => url.pathname === `/tasks/${second.url.searchParams.get('task')}`)
    await second.page.close()
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

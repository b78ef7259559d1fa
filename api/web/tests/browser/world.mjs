// The demo, the browser, and whoever looks at it: the administrator from the start, others as they are needed.
import { execFileSync } from 'node:child_process'
import { launch } from './browser.mjs'
import { PASSWORD, sim, startDemo } from './demo.mjs'
import { Window } from './window.mjs'

export class World {
  contexts = []
  windows = []

  constructor(demo, out) {
    this.demo = demo
    this.out = out
  }

  static async start(out, ...options) {
    const world = new World(await startDemo(...options), out)
    try {
      world.admin = await world.visitor()
    } catch (error) {
      await world.stop()
      throw error
    }
    return world
  }

  /** Another browser, with cookies of its own. */
  async visitor(pod = 0, locale = 'en-US') {
    const context = await launch({ locale })
    this.contexts.push(context)
    const { url } = this.demo.pods[pod]
    await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: url })
    return this.watched(context.pages()[0] ?? (await context.newPage()), url)
  }

  /** Another window of the same browser, at whichever pod. */
  async second(window, pod) {
    return this.watched(await window.page.context().newPage(), this.demo.pods[pod].url)
  }

  watched(page, url) {
    const window = new Window(page, url, this.out)
    this.windows.push(window)
    return window
  }

  /** Somebody with a role, signed in: they have the administrator's password. */
  async user(role, pod = 0) {
    this.sql(`INSERT INTO users (id, username, password_hash, role) SELECT gen_random_uuid(), '${role}', password_hash, '${role}' FROM users WHERE username = 'admin' ON CONFLICT DO NOTHING`)
    const window = await this.visitor(pod)
    await window.signIn(role, PASSWORD)
    return window
  }

  sql(text) {
    execFileSync('psql', [this.demo.database, '--quiet', '--no-psqlrc', '--set', 'ON_ERROR_STOP=1', '--command', text])
  }

  sim(method, path, body) {
    return sim(this.demo, method, path, body)
  }

  /** Slows every change of a node down, so that there is something to watch. */
  slow(milliseconds) {
    return this.sim('POST', '/sim/faults', { resource: 'nodes', verbs: ['patch'], latency_ms: milliseconds })
  }

  refuse(name) {
    return this.sim('POST', '/sim/faults', { name, resource: 'nodes', verbs: ['patch'], action: { status: { code: 403 } } })
  }

  /** Nothing is slow any more, or refused. */
  quick() {
    return this.sim('DELETE', '/sim/faults')
  }

  /** Whatever a step has set, it is gone. */
  async calm() {
    await this.quick()
    this.sql('DELETE FROM freezes')
    for (const { page } of this.windows) if (!page.isClosed()) await page.unrouteAll({ behavior: 'ignoreErrors' })
    for (const window of this.windows) window.expected = []
  }

  get complaints() {
    return this.windows.flatMap((window) => window.complaints)
  }

  async stop() {
    for (const context of this.contexts) await context.close().catch(() => undefined)
    await this.demo.stop()
  }
}

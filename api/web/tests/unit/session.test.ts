/** One browser: its tabs share the cookie, and nothing else but what they tell each other. */
import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { useSession } from '@/session'

let cookie: string | null
let down: boolean
let gone: string[]
let visible: (() => void) | undefined
let channels: Channel[]
const settled = () => new Promise((resolve) => setTimeout(resolve, 0))

class Channel {
  onmessage: (() => void) | null = null
  constructor(readonly name: string) { channels.push(this) }
  postMessage() { for (const other of channels) if (other !== this && other.name === this.name) other.onmessage?.() }
}

function answer(url: string, init: RequestInit): Response {
  const json = (status: number, body: object) => new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/json' } })
  if (down) return json(503, { detail: 'the database is away' })
  if (url.endsWith('/login')) {
    cookie = (JSON.parse(String(init.body)) as { username: string }).username
    return json(200, { user: { id: cookie, username: cookie, role: 'admin' } })
  }
  if (url.endsWith('/meta')) return json(200, {})
  if (cookie === null) return json(401, { detail: 'nobody is signed in' })
  if (url.endsWith('/me')) return json(200, { id: cookie, username: cookie, role: 'admin' })
  cookie = null
  return new Response(null, { status: 204 })
}

/** A tab with whoever is signed in. */
async function tab() {
  setActivePinia(createPinia())
  const session = useSession()
  session.attend()
  await session.start()
  return session
}

describe('a session', () => {
  beforeEach(() => {
    cookie = 'mia'
    down = false
    gone = []
    channels = []
    vi.stubGlobal('location', { assign: (to: string) => gone.push(to), reload: () => gone.push('reload') })
    vi.stubGlobal('document', { visibilityState: 'visible', addEventListener: (_: string, handler: () => void) => { visible = handler } })
    vi.stubGlobal('BroadcastChannel', Channel)
    vi.stubGlobal('fetch', (url: string, init: RequestInit) => Promise.resolve(answer(url, init)))
  })
  afterEach(() => vi.unstubAllGlobals())

  it('of another user in another tab makes this one begin anew', async () => {
    const first = await tab()
    const second = await tab()
    await second.signIn('mia', 'x')
    await settled()
    expect([gone, first.live]).toEqual([[], true])
    await second.signIn('ada', 'x')
    await settled()
    expect(gone).toEqual(['reload'])
  })

  it('is looked at when somebody looks at the tab', async () => {
    vi.stubGlobal('BroadcastChannel', undefined)
    const session = await tab()
    visible!()
    await settled()
    expect([gone, session.live]).toEqual([[], true])
    cookie = 'ada'
    visible!()
    await settled()
    expect(gone).toEqual(['reload'])
  })

  it('that has ended goes on when the same user has signed in elsewhere', async () => {
    const session = await tab()
    cookie = null
    await session.confirm()
    expect([session.lost, session.live]).toEqual([true, false])
    cookie = 'mia'
    await session.confirm()
    expect([session.lost, session.live, gone]).toEqual([false, true, []])
  })

  it('is left only when it has ended', async () => {
    const session = await tab()
    down = true
    await expect(session.signOut()).rejects.toMatchObject({ status: 503, message: 'the database is away' })
    expect([gone, session.live, cookie]).toEqual([[], true, 'mia'])
    down = false
    await session.signOut()
    expect([gone, cookie]).toEqual([['/'], null])
    // One that is over already is as good as ended.
    await session.signOut()
    expect(gone).toEqual(['/', '/'])
  })

  it('that is ended in one tab is over in all', async () => {
    const other = await tab()
    new Channel('knm.session').postMessage()
    await settled()
    expect(other.live).toBe(true)
    cookie = null
    new Channel('knm.session').postMessage()
    await settled()
    expect(other.live).toBe(false)
  })
})

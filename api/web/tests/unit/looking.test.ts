/** The operation in the drawer, with a router and an API around it. */
import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createApp, nextTick } from 'vue'
import { createMemoryHistory, createRouter, type Router } from 'vue-router'
import type { Task } from '@/api/types'
import { useOperation } from '@/operation/store'
import { useSession } from '@/session'

const ID = '01980abc-0000-7000-8000-000000000001'
let router: Router
let asked: string[]

describe('the operation in the drawer', () => {
  beforeEach(() => {
    vi.useFakeTimers()
    asked = []
    vi.stubGlobal('fetch', (url: string, init: RequestInit) => {
      asked.push(`${url} ${String(init.body)}`)
      return Promise.resolve(new Response(JSON.stringify({ nodes: [], changes: 1 }), { status: 200 }))
    })
    router = createRouter({ history: createMemoryHistory(), routes: [{ path: '/nodes', component: {} }] })
    const pinia = createPinia()
    createApp({}).use(pinia).use(router)
    setActivePinia(pinia)
    useSession().user = { id: 'u', username: 'mia', role: 'admin' } as never
  })
  afterEach(() => {
    vi.useRealTimers()
    vi.unstubAllGlobals()
  })

  it('asks nothing that the form finds fault with, also when somebody has signed in again', async () => {
    const operation = useOperation()
    operation.repeat({ action: 'label', cluster: 'east', params: { set: { team: 'a' } }, options: {}, reason: '' } as unknown as Task, ['n1'])
    await vi.advanceTimersByTimeAsync(1000)
    expect([asked.length, operation.preview !== null]).toEqual([1, true])
    operation.draft!.pairs.push({ key: 'team', value: 'b' })
    await vi.advanceTimersByTimeAsync(1000)
    const again = async () => {
      useSession().lost = true
      await nextTick()
      useSession().lost = false
      await vi.advanceTimersByTimeAsync(1000)
    }
    await again()
    await operation.look()
    expect([asked.length, operation.preview, operation.checking, operation.faults.size]).toEqual([1, null, false, 1])
    operation.draft!.pairs.pop()
    await again()
    expect([asked.length, operation.preview !== null]).toEqual([2, true])
  })

  it('shows the task of the URL by the id that the relay knows, and says of what is none that it is not there', async () => {
    const operation = useOperation()
    for (const [query, id] of [[ID, ID], [ID.toUpperCase(), ID], ['nonsense', 'nonsense'], ['', null]] as const) {
      await router.push({ path: '/nodes', query: { task: query } })
      expect([query, operation.taskId, operation.open]).toEqual([query, id, id !== null])
    }
  })
})

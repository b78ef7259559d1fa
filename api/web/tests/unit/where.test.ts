/** Where a task is: said wherever there are several clusters that it could be on. */
import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createSSRApp, type Component } from 'vue'
import { createMemoryHistory, createRouter } from 'vue-router'
import { renderToString } from 'vue/server-renderer'
import { useClusters } from '@/clusters'
import { i18n } from '@/i18n'
import ProgressPanel from '@/progress/ProgressPanel.vue'
import { useProgress } from '@/progress/store'
import { useSession } from '@/session'
import TaskLine from '@/tasks/TaskLine.vue'
import { Model, TASK } from './model'

const head = { ...new Model(2).head(), cluster: 'west' }

async function draw(component: Component, props: object, clusters: string[]): Promise<string> {
  const pinia = createPinia()
  const router = createRouter({ history: createMemoryHistory(), routes: [{ path: '/:rest(.*)*', component: {} }] })
  const app = createSSRApp(component, { ...props }).use(pinia).use(router).use(i18n)
  // What Element Plus draws is of no account here.
  app.config.warnHandler = () => undefined
  setActivePinia(pinia)
  useSession().user = { id: 'u', username: 'mia', role: 'viewer' } as never
  useClusters().list = clusters.map((name) => ({ name })) as never
  useProgress().note([head])
  return renderToString(app)
}

describe('the cluster of a task', () => {
  beforeEach(() => {
    vi.useFakeTimers()
    vi.stubGlobal('ResizeObserver', class {})
    vi.stubGlobal('fetch', () => new Promise(() => undefined))
  })
  afterEach(() => {
    vi.useRealTimers()
    vi.unstubAllGlobals()
  })

  it('is said in the tray where it could be another', async () => {
    expect(await draw(TaskLine, { task: head, of: true }, [])).toContain('west')
    expect(await draw(TaskLine, { task: head, of: false }, [])).not.toContain('west')
  })

  it('is said in the drawer, whose page is that of another cluster perhaps', async () => {
    expect(await draw(ProgressPanel, { id: TASK, inDrawer: true }, ['east', 'west'])).toContain('title="west"')
    expect(await draw(ProgressPanel, { id: TASK, inDrawer: true }, ['west'])).not.toContain('west')
    // The page of a task says it above.
    expect(await draw(ProgressPanel, { id: TASK }, ['east', 'west'])).not.toContain('west')
  })
})

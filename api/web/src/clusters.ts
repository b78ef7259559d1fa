/** The clusters, and the one that is looked at: the URL's and no other; without one, that before, else the default. */
import { defineStore } from 'pinia'
import { computed, shallowRef, watch } from 'vue'
import { useRoute, useRouter } from 'vue-router'
import { api } from '@/api/client'
import { asApiError, type ApiError } from '@/api/problem'
import type { Cluster } from '@/api/types'

/** What is looked at, and what was asked for and is not there: nobody is shown another cluster instead of that. */
export function pick(list: readonly Pick<Cluster, 'name' | 'default'>[], wanted: unknown, last: string | null): { current: string | null; missing: string | null } {
  const known = (name: unknown): name is string => list.some((cluster) => cluster.name === name)
  if (typeof wanted === 'string' && wanted) return known(wanted) ? { current: wanted, missing: null } : { current: null, missing: list.length ? wanted : null }
  if (known(last)) return { current: last, missing: null }
  return { current: (list.find((cluster) => cluster.default) ?? list[0])?.name ?? null, missing: null }
}

export const useClusters = defineStore('clusters', () => {
  const route = useRoute()
  const router = useRouter()
  const list = shallowRef<Cluster[]>([])
  const problem = shallowRef<ApiError | null>(null)
  const loaded = shallowRef(false)
  const last = shallowRef<string | null>(null)

  const picked = computed(() => pick(list.value, route.query['cluster'], last.value))
  const current = computed(() => picked.value.current)
  const missing = computed(() => picked.value.missing)
  /** Whether it has to be said which one something is about. */
  const several = computed(() => list.value.length > 1)
  const state = computed(() => list.value.find((c) => c.name === current.value) ?? null)

  // Pages that are about no cluster do not forget it.
  watch(current, (name) => {
    if (name !== null) last.value = name
  }, { immediate: true })

  async function load(): Promise<void> {
    try {
      list.value = (await api.get('/api/v1/clusters')).clusters
      problem.value = null
    } catch (error) {
      problem.value = asApiError(error)
    }
    loaded.value = true
  }

  function choose(name: string): void {
    void router.push({ path: '/nodes', query: { cluster: name } })
  }

  return { list, current, missing, several, state, problem, loaded, load, choose }
})

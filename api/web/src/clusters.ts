/** The clusters, and the one that is looked at: the URL's, else the one before, else the default. */
import { defineStore } from 'pinia'
import { computed, shallowRef, watch } from 'vue'
import { useRoute, useRouter } from 'vue-router'
import { api } from '@/api/client'
import { asApiError, type ApiError } from '@/api/problem'
import type { Cluster } from '@/api/types'

export const useClusters = defineStore('clusters', () => {
  const route = useRoute()
  const router = useRouter()
  const list = shallowRef<Cluster[]>([])
  const problem = shallowRef<ApiError | null>(null)
  const loaded = shallowRef(false)
  const last = shallowRef<string | null>(null)

  const current = computed<string | null>(() => {
    const known = [route.query['cluster'], last.value].find((name) => list.value.some((c) => c.name === name))
    if (typeof known === 'string') return known
    return (list.value.find((c) => c.default) ?? list.value[0])?.name ?? null
  })
  const state = computed(() => list.value.find((c) => c.name === current.value) ?? null)

  // Pages that are about no cluster do not forget it.
  watch(() => route.query['cluster'], (name) => {
    if (typeof name === 'string') last.value = name
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

  return { list, current, state, problem, loaded, load, choose }
})

/** Who is signed in, and what this installation is. */
import { defineStore } from 'pinia'
import { computed, ref, shallowRef } from 'vue'
import { api, onSignedOut } from '@/api/client'
import type { Meta, Role, User } from '@/api/types'

const RANK: Record<Role, number> = { viewer: 0, operator: 1, admin: 2 }

export const useSession = defineStore('session', () => {
  const user = shallowRef<User | null>(null)
  const meta = shallowRef<Meta | null>(null)
  /** The session ended while the page was in use: what is on the screen stays. */
  const lost = ref(false)

  onSignedOut(() => {
    if (user.value) lost.value = true
  })

  async function start(): Promise<void> {
    meta.value = await api.get('/api/v1/meta')
    user.value = await api.get('/api/v1/auth/me').catch((error: { status?: number }) => {
      if (error.status === 401) return null
      throw error
    })
  }

  async function signIn(username: string, password: string): Promise<void> {
    const answer = await api.post('/api/v1/auth/login', { body: { username, password } })
    user.value = answer.user
    lost.value = false
    // It says more to those who are signed in.
    meta.value = await api.get('/api/v1/meta').catch(() => meta.value)
  }

  async function signOut(): Promise<void> {
    await api.post('/api/v1/auth/logout').catch(() => undefined)
    // With everything that the page still holds of this user: drafts, selections, tasks.
    location.assign('/')
  }

  /** Asks the API whether there is still a session. */
  async function confirm(): Promise<void> {
    await api.get('/api/v1/auth/me').catch(() => undefined)
  }

  /** What the user may do on a cluster; without one, in the installation as a whole. */
  function roleOn(cluster: string | null | undefined): Role | null {
    if (!user.value) return null
    const bound = user.value.clusters
    return cluster && bound ? (bound[cluster] ?? null) : user.value.role
  }

  function can(role: Role, cluster?: string | null): boolean {
    const mine = roleOn(cluster)
    return mine !== null && RANK[mine] >= RANK[role]
  }
  const live = computed(() => user.value !== null && !lost.value)

  return { user, meta, lost, live, start, signIn, signOut, confirm, can }
})

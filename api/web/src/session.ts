/** Who is signed in, and what this installation is. */
import { defineStore } from 'pinia'
import { computed, ref, shallowRef } from 'vue'
import { api, onSignedOut } from '@/api/client'
import { asApiError } from '@/api/problem'
import type { Meta, Role, User } from '@/api/types'

const PATIENCE = 10_000
const RANK: Record<Role, number> = { viewer: 0, operator: 1, admin: 2 }

export const useSession = defineStore('session', () => {
  const user = shallowRef<User | null>(null)
  const meta = shallowRef<Meta | null>(null)
  /** The session ended while the page was in use: what is on the screen stays. */
  const lost = ref(false)
  /** The other tabs of this browser. */
  let others: BroadcastChannel | null = null

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
    others?.postMessage('in')
    // It says more to those who are signed in.
    meta.value = await api.get('/api/v1/meta').catch(() => meta.value)
  }

  /** Throws where the API has not ended the session: a page that looked signed out would then be no such thing. */
  async function signOut(): Promise<void> {
    try {
      await api.post('/api/v1/auth/logout')
    } catch (error) {
      if (asApiError(error).status !== 401) throw error
    }
    others?.postMessage('out')
    // With everything that the page still holds of this user: drafts, selections, tasks.
    location.assign('/')
  }

  /** Asks the API whose session it is by now: all tabs of a browser have one cookie, and any of them may change it. */
  async function confirm(): Promise<void> {
    const me = await api.get('/api/v1/auth/me', { signal: AbortSignal.timeout(PATIENCE) }).catch(() => null)
    if (!me) return
    // What the page holds is another's: nothing of it may be shown, or done, as this one.
    if (me.id !== user.value?.id) location.reload()
    else lost.value = false
  }

  /** For as long as the page is there. */
  function attend(): void {
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') void confirm()
    })
    // A browser without them learns of it when somebody looks at the tab.
    if (typeof BroadcastChannel === 'undefined') return
    others = new BroadcastChannel('knm.session')
    others.onmessage = () => void confirm()
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

  return { user, meta, lost, live, start, signIn, signOut, confirm, attend, can }
})

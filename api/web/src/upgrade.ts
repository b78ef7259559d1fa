/**
 * After an upgrade an open page may name files that are gone. The page is then loaded anew where it was
 * going, once; if that does not help, or has just been tried, it says so instead.
 */
import { ref } from 'vue'
import type { Router } from 'vue-router'

const KEY = 'knm.reloaded'
const AGAIN_AFTER = 60_000

/** A part of the page could not be had, and loading it anew has not helped. */
export const outdated = ref(false)

export function mayReload(memory: Pick<Storage, 'getItem' | 'setItem'>, now: number): boolean {
  try {
    const last = Number(memory.getItem(KEY) ?? -AGAIN_AFTER)
    if (now - last < AGAIN_AFTER) return false
    memory.setItem(KEY, String(now))
    return true
  } catch {
    // Without a memory it could go round for ever.
    return false
  }
}

export function watchForUpgrades(router: Router): void {
  let missing = false
  window.addEventListener('vite:preloadError', () => (missing = true))
  router.onError((error: unknown, to) => {
    if (!missing) throw error
    missing = false
    if (mayReload(sessionStorage, Date.now())) location.assign(to.fullPath)
    else outdated.value = true
  })
}

/** What becomes of pods, in numbers where they are known. */
import type { Composer } from 'vue-i18n'
import type { Evictions } from './draft'

/** `unguarded`: no disruption budget is asked, as by deleting them or by a NoExecute taint. */
export function gone(t: Composer['t'], { pods, nodes, known }: Evictions, unguarded: boolean): string {
  if (!known) return unguarded ? t('op.deleteUnknown') : t('op.evictUnknown')
  return unguarded ? t('op.deletions', { pods, nodes }) : t('op.evictions', { pods, nodes })
}

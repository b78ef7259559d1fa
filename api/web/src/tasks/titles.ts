import type { Composer } from 'vue-i18n'

type Translate = Composer['t']
const KNOWN = new Set(['label', 'annotate', 'taint', 'cordon', 'uncordon', 'drain', 'revert'])

/** "Label 37 nodes", also of operations that this page does not know. */
export function actionTitle(t: Translate, action: string, nodes: number): string {
  return KNOWN.has(action) ? t(`action.${action}N`, { n: nodes }, nodes) : `${action} (${nodes})`
}

export function actionName(t: Translate, action: string): string {
  return KNOWN.has(action) ? t(`action.${action}`) : action
}

/**
 * The same operation for a shell: kubectl commands, quoted. The cluster's name comes first: what context stands for it
 * in that shell only its owner knows, and the one that happens to be current may have nodes of the same names.
 */
import type { Draft } from './draft'

export function quote(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}

function words(draft: Draft): string[] {
  const protectedFlags = draft.overwrite ? ['--overwrite'] : []
  switch (draft.action) {
    case 'label':
    case 'annotate': {
      const set = draft.pairs.filter((row) => row.key.trim()).map((row) => `${row.key.trim()}=${row.value}`)
      return [...set, ...draft.remove.map((key) => `${key}-`), ...protectedFlags]
    }
    case 'taint': {
      const set = draft.taints
        .filter((row) => row.key.trim())
        .map((row) => `${row.key.trim()}${row.value ? `=${row.value}` : ''}:${row.effect}`)
      return [...set, ...draft.remove.map((name) => `${name}-`), ...protectedFlags]
    }
    case 'drain': {
      const { drain } = draft
      return [
        ...(drain.ignoreDaemonsets ? ['--ignore-daemonsets'] : []),
        ...(drain.deleteEmptydir ? ['--delete-emptydir-data'] : []),
        ...(drain.force ? ['--force'] : []),
        ...(drain.disableEviction ? ['--disable-eviction'] : []),
        ...(drain.grace !== null ? [`--grace-period=${drain.grace}`] : []),
        ...(drain.timeout ? [`--timeout=${drain.timeout}s`] : []),
        ...(drain.skipWait ? [`--skip-wait-for-delete-timeout=${drain.skipWait}`] : []),
        ...(drain.podSelector ? [`--pod-selector=${drain.podSelector}`] : []),
      ]
    }
    default:
      return []
  }
}

export function kubectl(draft: Draft): string {
  const verb = { label: 'label nodes', annotate: 'annotate nodes', taint: 'taint nodes', cordon: 'cordon', uncordon: 'uncordon', drain: 'drain' }
  const dry = draft.options.dryRun ? ['--dry-run=server'] : []
  const rest = [...words(draft), ...dry].map(quote)
  const names = draft.names.map(quote)
  return `# cluster: ${draft.cluster}\nkubectl ${verb[draft.action]} ${[...names, ...rest].join(' ')}`
}

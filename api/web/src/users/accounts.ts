/** What an account's form holds, and the requests that it comes to. Pure. */
import type { Account, AccountChange, NewAccount, Role } from '@/api/types'

export interface Binding {
  cluster: string
  role: Role
}

export interface AccountForm {
  username: string
  password: string
  role: Role
  /** Else every cluster, with `role`. */
  bound: boolean
  bindings: Binding[]
}

export const ROLES = ['viewer', 'operator', 'admin'] as const

export function formOf(account: Account | null): AccountForm {
  const bindings = Object.entries(account?.clusters ?? {}).map(([cluster, role]) => ({ cluster, role: role as Role }))
  return {
    username: account?.username ?? '', password: '', role: account?.role ?? 'viewer',
    bound: (account?.clusters ?? null) !== null, bindings: bindings.length ? bindings : [{ cluster: '', role: 'viewer' }],
  }
}

function clusters(form: AccountForm): Record<string, Role> | null {
  if (!form.bound) return null
  return Object.fromEntries(form.bindings.filter((row) => row.cluster).map((row) => [row.cluster, row.role]))
}

export function creation(form: AccountForm): NewAccount {
  return { username: form.username.trim(), password: form.password, role: form.role, clusters: clusters(form) }
}

/** Only what differs: what is left out stays as it is. */
export function change(account: Account, form: AccountForm): AccountChange {
  const asked: AccountChange = {}
  const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)
  const sorted = (of: Record<string, string> | null | undefined) => (of ? Object.entries(of).sort() : null)
  if (form.role !== account.role) asked.role = form.role
  if (!same(sorted(clusters(form)), sorted(account.clusters))) asked.clusters = clusters(form)
  return asked
}

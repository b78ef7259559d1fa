import { describe, expect, it } from 'vitest'
import type { Account } from '@/api/types'
import { change, creation, formOf } from '@/users/accounts'

const account = (more: Partial<Account> = {}): Account => ({
  id: 'u', username: 'mia', role: 'operator', clusters: null, disabled: false, created_at: '2026-01-01T00:00:00Z', ...more,
}) as Account

describe('an account in its form', () => {
  it('is made as the form says', () => {
    const form = formOf(null)
    Object.assign(form, { username: ' mia ', password: 'correct horse', bindings: [{ cluster: 'east', role: 'admin' }, { cluster: '', role: 'viewer' }] })
    expect(creation(form)).toEqual({ username: 'mia', password: 'correct horse', role: 'viewer', clusters: null })
    form.bound = true
    expect(creation(form).clusters).toEqual({ east: 'admin' })
  })

  it('is changed only where it differs', () => {
    const bound = account({ clusters: { west: 'viewer', east: 'admin' } })
    for (const same of [account(), bound]) expect(change(same, formOf(same))).toEqual({})
    expect(change(bound, { ...formOf(bound), role: 'admin' })).toEqual({ role: 'admin' })
    expect(change(bound, { ...formOf(bound), bound: false })).toEqual({ clusters: null })
    const form = formOf(account())
    Object.assign(form, { bound: true, bindings: [{ cluster: 'east', role: 'viewer' }] })
    expect(change(account(), form)).toEqual({ clusters: { east: 'viewer' } })
  })
})

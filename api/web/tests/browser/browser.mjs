// Debian's Chromium, without anything that would leave this machine.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'

export async function launch(options = {}) {
  const profile = await mkdtemp(join(tmpdir(), 'knm-browser-'))
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.KNM_CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    viewport: { width: 1440, height: 860 },
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run',
    ],
    ...options,
  })
  context.on('close', () => void rm(profile, { recursive: true, force: true, maxRetries: 5 }).catch(() => undefined))
  return context
}

/** Everything that a page complains about, and every request to elsewhere. */
export function watch(page, origin, allowed = () => false) {
  const complaints = []
  page.on('console', (message) => {
    if (message.type() === 'error' && !allowed(message.text())) complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('request', (request) => {
    const url = new URL(request.url())
    if (url.host !== new URL(origin).host && url.protocol.startsWith('http')) complaints.push(`a request to ${url.host}`)
  })
  return complaints
}

// A demo of this test's own: two pods, a database, a simulated cluster.
import { spawn } from 'node:child_process'
import { readFile, readdir } from 'node:fs/promises'
import { createInterface } from 'node:readline'

const target = process.env.KNM_BIN ?? new URL('../../../../target/debug', import.meta.url).pathname
const dist = new URL('../../dist', import.meta.url).pathname
export const PASSWORD = 'a password for the browser test'

export async function startDemo(...options) {
  const child = spawn(`${target}/knm-demo`, ['--web-dir', dist, '--admin-password', PASSWORD, ...options], { stdio: ['ignore', 'pipe', 'inherit'] })
  const demo = { pods: [], sim: '', database: '', folder: '', stop: () => stop(child) }
  const lines = createInterface({ input: child.stdout })
  await new Promise((resolve, reject) => {
    child.on('exit', (code) => reject(new Error(`the demo ended with ${code}`)))
    lines.on('line', (line) => {
      const pod = /(pod-\w)\s+api\s+(http:\S+)/.exec(line)
      if (pod) demo.pods.push({ name: pod[1], url: pod[2] })
      demo.sim = /kubectl --server=(\S+)/.exec(line)?.[1] ?? demo.sim
      demo.database = /PostgreSQL\s+psql (\S+)/.exec(line)?.[1] ?? demo.database
      const folder = /folder\s+(\S+)/.exec(line)
      if (folder) {
        demo.folder = folder[1]
        resolve()
      }
    })
  })
  child.removeAllListeners('exit')
  return demo
}

function stop(child) {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve()
    child.on('exit', resolve)
    child.kill('SIGINT')
  })
}

/** Tells the simulated cluster something. */
export async function sim(demo, method, path, body) {
  const answer = await fetch(`${demo.sim}${path}`, { method, body: body === undefined ? undefined : JSON.stringify(body), headers: { 'content-type': 'application/json' } })
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`)
  return answer.json().catch(() => null)
}

/** Kills the process of a pod of this demo, and nobody else's. */
export async function killContainer(demo, program, pod) {
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const command = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0')
    if (command[0]?.endsWith(`/${program}`) && command.some((word) => word.startsWith(`${demo.folder}/${pod}`))) {
      process.kill(Number(pid), 'SIGKILL')
      return Number(pid)
    }
  }
  throw new Error(`no ${program} of ${pod}`)
}

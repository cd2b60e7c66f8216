import { stdout } from 'node:process'
import { Lab } from '../../lab/lab.ts'
import { systemClock } from '../../lib/clock.ts'

// Run by crash.test.ts, which kills it: makes a lab, says its id, and waits.
async function main(): Promise<void> {
  const lab = await Lab.create({ segments: [{ name: 'lan1', subnet: '192.168.64.0/24', hosts: ['h1'] }] })
  const [host] = lab.hosts
  if (host === undefined) throw new Error('no host')
  const program = await host.start(['sh', '-c', 'sleep 1000 & echo forked; wait'], { log: `${host.folder}/sleep.log` })
  // The test counts the grandchild: the id must not be said before it exists.
  const limit = AbortSignal.timeout(30_000)
  while (!(await program.logText()).includes('forked')) await systemClock.sleep(5, limit)
  stdout.write(`${lab.id}\n`)
  await systemClock.sleep(60_000, new AbortController().signal)
}

await main()

import { readFile, rm } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { inParallel } from '../../lab/build.ts'
import type { Host } from '../../lab/host.ts'
import { defaultPrefix, type Lab } from '../../lab/lab.ts'
import type { Measurement, Sample, Side } from './measurement.ts'
import { rack } from './rack.ts'

const HOSTS = 50
const LIMIT_MS = 60_000

/** A rack gets power: 50 hosts want a subnet in the same moment. */
export const join: Measurement = {
  name: 'join',
  rounds: 3,
  figures: [
    { key: 'all', title: `${HOSTS} hosts at once: all know all others`, unit: 's', digits: 2, goal: { timesPeer: 1 } },
    { key: 'exits', title: '  daemons that exited', unit: '', digits: 0, goal: { under: 1 } },
    { key: 'twins', title: '  hosts with the subnet of another', unit: '', digits: 0, goal: { under: 1 } },
    { key: 'silent', title: '  pairs without an answer', unit: '', digits: 0, goal: { under: 1 } },
  ],
  async prepare(defer) {
    const lab = await rack(HOSTS, { Type: 'vxlan' })
    defer(() => lab.close())
    return async (side) => {
      try {
        return await joinAll(lab, side)
      } finally {
        await reset(lab)
      }
    }
  },
}

async function joinAll(lab: Lab, side: Side): Promise<Sample> {
  const began = performance.now()
  await Promise.all(lab.hosts.map((host) => host.startDaemon(side.daemon)))
  const waiting = new Set(lab.hosts)
  let all = 0
  while (waiting.size > 0 && performance.now() - began < LIMIT_MS) {
    const alive = lab.hosts.filter((host) => host.daemon?.running).length
    for (const host of waiting) {
      if (!host.daemon?.running || (await knownPeers(host)) < alive - 1) continue
      waiting.delete(host)
      all = performance.now() - began
    }
    for (const host of waiting) if (!host.daemon?.running) waiting.delete(host)
    await delay(20)
  }
  if (waiting.size > 0) throw new Error(`${waiting.size} hosts do not know all others after ${LIMIT_MS} ms`)
  const alive = lab.hosts.filter((host) => host.daemon?.running)
  const subnets = await Promise.all(alive.map(async (host) => (await host.subnetEnv()).families[0]?.subnet ?? ''))
  return {
    all: all / 1000,
    exits: lab.hosts.length - alive.length,
    twins: subnets.length - new Set(subnets).size,
    silent: await silentPairs(alive, subnets),
  }
}

/** Routes of vxlan to peers, as /proc shows them to the daemon: no program is started for it. */
async function knownPeers(host: Host): Promise<number> {
  const text = await readFile(`/proc/${host.daemon?.pid}/net/route`, 'utf8').catch(() => '')
  // A gateway that is not zero: not the device's own prefix.
  return text.split('\n').filter((line) => line.startsWith('flannel.1\t') && line.split('\t')[2] !== '00000000').length
}

/** Ordered pairs of hosts of which the first gets no answer from the second's end of the tunnel. */
async function silentPairs(hosts: readonly Host[], subnets: readonly string[]): Promise<number> {
  let silent = 0
  await inParallel(hosts, 4, async (host) => {
    const others = subnets.filter((_subnet, index) => hosts[index] !== host).map((subnet) => subnet.replace('/24', ''))
    const script = 'for a; do { ping -q -c1 -W3 "$a" >/dev/null || echo "$a"; } & done; wait'
    const { stdout } = await host.exec(['sh', '-c', script, 'sh', ...others], { timeout: 30_000 })
    silent += stdout.split('\n').filter((line) => line !== '').length
  })
  return silent
}

async function reset(lab: Lab): Promise<void> {
  await inParallel(lab.hosts, 8, async (host) => {
    await host.daemon?.stop()
    await host.exec(['ip', 'link', 'del', 'flannel.1'], { anyCode: true })
    for (const path of [host.paths.subnetFile, host.paths.stateDir]) await rm(path, { force: true, recursive: true })
  })
  await lab.etcd.del(`${defaultPrefix}/subnets/`, { prefix: true })
  await delay(500)
}

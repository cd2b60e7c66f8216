import assert from 'node:assert/strict'
import { execPath } from 'node:process'
import { setTimeout as delay } from 'node:timers/promises'
import type { Measurement, Side } from './measurement.ts'
import { OneHost } from './one-host.ts'
import { cpuMs } from './process-cost.ts'

const PER_SECOND = 50
const SETTLE_MS = 5_000
const MEASURED_MS = 30_000
/** Chains that each rewrite replaces, with so many rules each. */
const CHAINS = 10
const RULES = 8

/** As kube-proxy does it: whole chains of the table nat, replaced in one transaction; one program, so that the machine is not the limit. */
const rewriter = `
const { spawn } = require('node:child_process')
const restore = spawn('iptables-nft-restore', ['--noflush'], { stdio: ['pipe', 'inherit', 'inherit'] })
restore.on('exit', (code) => process.exit(code ?? 1))
const began = performance.now()
let count = 0
const rewrite = () => {
  const lines = ['*nat']
  for (let n = 0; n < ${CHAINS}; n += 1) lines.push(':KUBE-SVC-' + n + ' - [0:0]')
  for (let n = 0; n < ${CHAINS}; n += 1) for (let rule = 0; rule < ${RULES}; rule += 1)
    lines.push('-A KUBE-SVC-' + n + ' -d 10.96.' + (count % 250) + '.' + rule + '/32 -p tcp --dport 80 -j RETURN')
  restore.stdin.write([...lines, 'COMMIT', ''].join('\\n'))
  count += 1
}
setInterval(() => { while (performance.now() - began > count * ${1000 / PER_SECOND}) rewrite() }, 5)`

/** Another program that rewrites its own rules all the time: a busy kube-proxy in a large cluster. */
export const rewrites: Measurement = {
  name: 'rewrites',
  rounds: 2,
  figures: [
    {
      key: 'iptables',
      title: `CPU at ${PER_SECOND} foreign rewrites a second, iptables`,
      unit: '%',
      digits: 2,
      goal: { under: 2 },
    },
    { key: 'nftables', title: '  the same, nftables', unit: '%', digits: 2, goal: { under: 2 } },
  ],
  async prepare(defer) {
    const world = await OneHost.create(0)
    defer(() => world.lab.close())
    const sample = async (side: Side, nftables: boolean) => {
      await world.lab.configure({ Network: '10.0.0.0/8', EnableNFTables: nftables, Backend: { Type: 'vxlan' } })
      const { host } = world
      const daemon = await host.startDaemon({ ...side.daemon, args: [...(side.daemon.args ?? []), '--ip-masq'] })
      await host.subnetEnv()
      const other = await host.start([execPath, '-e', rewriter], { log: '/dev/null' })
      try {
        await delay(SETTLE_MS)
        const rules = await ownRules(world)
        assert.notEqual(rules.length, 0)
        const logged = (await daemon.logText()).length
        const before = cpuMs(daemon.pid)
        await delay(MEASURED_MS)
        const percent = ((cpuMs(daemon.pid) - before) / MEASURED_MS) * 100
        assert(other.running, 'the rewriting program ended')
        assert.deepEqual(await ownRules(world), rules, 'rules have changed')
        // Neither fought about nor repaired.
        assert.doesNotMatch((await daemon.logText()).slice(logged), /repaired|again and again/)
        return percent
      } finally {
        await other.stop()
        await world.reset()
        await host.exec(['nft', 'flush', 'ruleset'])
      }
    }
    return async (side) => ({ iptables: await sample(side, false), nftables: await sample(side, true) })
  },
}

async function ownRules({ host }: OneHost): Promise<readonly string[]> {
  const { stdout } = await host.exec(['sh', '-c', 'iptables-nft-save; nft list ruleset'])
  return stdout.split('\n').filter((line) => /flanneld|FLANNEL-|flannel-ipv/.test(line) && !/^:|counter/.test(line))
}

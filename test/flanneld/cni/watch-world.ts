import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { CniWatch } from '../../../flanneld/cni/cni-watch.ts'
import type { CniNetwork } from '../../../flanneld/cni/conflist.ts'
import { CniRecord } from '../../../flanneld/cni/record.ts'
import { ConditionSet } from '../../../flanneld/status/status.ts'
import type { HostInterface } from '../../../kernel/host.ts'
import type { ObjectTable } from '../../../kernel/table.ts'
import type { Cidr, Family, IpAddr, MacAddr } from '../../../lib/address.ts'
import { createLogger } from '../../../lib/log.ts'
import { VirtualClock } from '../../fakes/clock.ts'

/** With the form of the daemon's own. */
export function conflistOf(name: string): string {
  const plugins = [{ type: 'bridge', mtu: 1450 }, { type: 'portmap' }]
  return JSON.stringify({ cniVersion: '0.3.1', name, plugins })
}

/** A host with real files in `folder` and a bridge that has an address of an earlier subnet and no containers. */
export function cniHost(folder: string) {
  const confDir = join(folder, 'net.d')
  mkdirSync(confDir, { recursive: true })
  const network: CniNetwork = { confFile: join(confDir, '10-flannel.conflist'), name: 'cbr0' }
  const applied: string[] = []
  const warnings: string[] = []
  const log = createLogger((severity, message) => severity === 'warn' && warnings.push(message))
  const clock = new VirtualClock()
  const conditions = new ConditionSet({ clock })
  const addresses: Pick<ObjectTable, 'apply'> = {
    apply: async (ops) => {
      for (const { verb, object } of ops)
        if (object.kind === 'address') applied.push(`${verb} ${object.address}/${object.length}`)
      return ops.map(() => ({ ok: true }))
    },
  }
  const host = { listInterfaces: async () => (applied.length === 0 ? [BRIDGE] : []) }
  const kept = new Map<string, string>()
  const files = {
    path: folder,
    read: async (name: string) => kept.get(name),
    keep: async (name: string, text: string | (() => string)) => {
      kept.set(name, typeof text === 'string' ? text : text())
      return true
    },
    remove: async (name: string) => void kept.delete(name),
  }
  const own = () => ({
    subnets: new Map<Family, Cidr>([[4, '10.5.9.0/24' as Cidr]]),
    networks: ['10.5.0.0/16' as Cidr],
    conflist: conflistOf('cbr0'),
  })
  const options = { binDir: join(folder, 'bin'), pluginsFrom: undefined, picksFirst: true }
  const watchOf = (former: readonly CniNetwork[]) => {
    const record = new CniRecord(files, { network: former[0], former: former.slice(1), plugins: [] })
    const needs = { host, addresses, own, record, former, conditions, cniState: folder, clock, log }
    return new CniWatch(needs, { ...options, network })
  }
  return {
    network,
    watchOf,
    watch: watchOf([]),
    /** What was done to addresses of the kernel. */
    applied,
    warnings,
    clock,
    files,
    /** Without what is said of plugins, which are not there. */
    conditions: () =>
      conditions.list().flatMap(({ code, text }) => (code === 'cni-plugins' ? [] : [`${code}: ${text}`])),
    removal: {
      kernel: { host: host as never, tables: [] },
      files,
      log,
      cniState: folder,
      usualDirectory: join(folder, 'usual'),
    },
    options: {
      cniConfFile: network.confFile,
      cniNetwork: network.name,
      cniBinDir: options.binDir,
      cniPluginsFrom: undefined,
      subnetFile: join(folder, 'subnet.env'),
    },
  }
}

const BRIDGE: HostInterface = {
  name: 'cni0',
  index: 7,
  mtu: 1450,
  up: true,
  running: true,
  loopback: false,
  mac: '02:00:00:00:00:07' as MacAddr,
  kind: 'bridge',
  master: 0,
  addresses: [
    {
      family: 4,
      address: '10.5.3.1' as IpAddr,
      length: 24,
      scope: 'global',
      deprecated: false,
      temporary: false,
      permanent: true,
      tentative: false,
      duplicate: false,
    },
  ],
}

import assert from 'node:assert/strict'
import { chmod, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execPath } from 'node:process'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { systemClock } from '../../lib/clock.ts'
import { needs } from '../needs.ts'
import { iptablesRules } from './rules.ts'
import {
  flanneld,
  logsInFailure,
  oneSegment,
  ready,
  startDaemon,
  status,
  steady,
  strangerLease,
  until,
  vxlan,
  vxlanFrom100,
} from './world.ts'

const PROGRAMS = ['nft', ...['iptables', 'ip6tables'].flatMap((name) => [name, ...worlds(name)])]

function worlds(name: string): string[] {
  return ['nft', 'legacy'].flatMap((world) => ['', '-save', '-restore'].map((verb) => `${name}-${world}${verb}`))
}

/** A folder that is the daemon's whole PATH: what is put into it is what the host has installed. */
class Programs {
  readonly path: string

  constructor(folder: string) {
    this.path = join(folder, 'bin')
  }

  get env(): Record<string, string> {
    return { PATH: this.path }
  }

  async clear(): Promise<void> {
    await rm(this.path, { recursive: true, force: true })
    await mkdir(this.path)
    await symlink(execPath, join(this.path, 'node'))
    // The lab's own way into the host.
    await symlink('/usr/bin/nsenter', join(this.path, 'nsenter'))
  }

  async install(): Promise<void> {
    for (const name of PROGRAMS) await this.#put(name, `exec /usr/sbin/${name} "$@"`)
  }

  /** Every use is written down. */
  async watch(): Promise<void> {
    await writeFile(join(this.path, 'used'), '')
    for (const name of PROGRAMS) await this.#put(name, `echo ${name} >> ${this.path}/used; exec /usr/sbin/${name} "$@"`)
  }

  async used(): Promise<readonly string[]> {
    return (await readFile(join(this.path, 'used'), 'utf8')).split('\n').filter((line) => line !== '')
  }

  async hang(...names: readonly string[]): Promise<void> {
    for (const name of names) await this.#put(name, 'exec /usr/bin/sleep 1000')
  }

  /** Hangs, too, behind writing down its environment. */
  async tell(name: string, file: string): Promise<void> {
    await this.#put(name, `/usr/bin/env > ${file}; exec /usr/bin/sleep 1000`)
  }

  /** As for a process without CAP_NET_ADMIN. */
  async forbid(...names: readonly string[]): Promise<void> {
    for (const name of names)
      await this.#put(
        name,
        `exec /usr/bin/setpriv --bounding-set=-net_admin --inh-caps=-net_admin /usr/sbin/${name} "$@"`,
      )
  }

  async #put(name: string, line: string): Promise<void> {
    const file = join(this.path, name)
    await rm(file, { force: true })
    await writeFile(file, `#!/bin/sh\n${line}\n`)
    await chmod(file, 0o755)
  }
}

describe('rules under faults', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(240_000)
  let lab: Lab
  let host: Host
  let programs: Programs

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(1), netConf: vxlan })
    host = lab.host('h1')
    programs = new Programs(host.folder)
  })

  beforeEach(async () => {
    await host.daemon?.stop()
    await host.exec(['nft', 'flush', 'ruleset'])
    await host.exec(['rm', '-f', host.paths.subnetFile])
    await programs.clear()
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(() => lab?.close())

  const start = async (args: readonly string[] = ['--ip-masq'], env = {}) =>
    await startDaemon(host, { args, env: { ...programs.env, ...env } })
  const notReady = async (pattern: RegExp) =>
    await until(15_000, `not ready: ${pattern}`, async () => {
      assert.match((await status(host)).notReady.join('\n'), pattern)
    })

  for (const [nft, what, pattern] of [
    [false, 'iptables', /iptables-\w+-(save|restore) is not installed: install the package iptables/],
    [true, 'nft', /nft is not installed: install the package nftables/],
  ] as const) {
    it(`that ${what} is missing for: not ready, named with the remedy, and ready once it is there (row 44)`, async () => {
      await lab.configure({ ...vxlan, EnableNFTables: nft })
      await start()
      await notReady(pattern)
      await host.exec(['test', '!', '-e', host.paths.subnetFile])
      await programs.install()
      await ready(host, 35_000)
      assert.notEqual((await iptablesRules(host)).length + (nft ? 1 : 0), 0)
    })
  }

  it('that a program hangs for: not ready, alive, peers are served (row 44)', async () => {
    await lab.configure(vxlanFrom100)
    await programs.install()
    await programs.hang('iptables-nft-restore', 'ip6tables-nft-restore')
    await start(['--ip-masq', '--healthz-port=8089'])
    await notReady(/iptables-nft-restore did not end within 5 s and was killed/)
    // Over more than one try, so that the program hangs at some of them.
    for (const number of [70, 71, 72, 73, 74, 75]) {
      await lab.etcd.put(...strangerLease(number))
      const route = new RegExp(`10\\.5\\.${number}\\.0/24`)
      await until(1_000, 'a route to the new peer', async () => assert.match(await host.ip('route'), route))
      await host.ip('route', 'del', `10.5.${number}.0/24`)
      await until(1_000, 'the route is healed', async () => assert.match(await host.ip('route'), route))
      await systemClock.sleep(1_000, AbortSignal.timeout(5_000))
    }
    const { stdout } = await host.exec([
      execPath,
      '-e',
      'fetch("http://127.0.0.1:8089/livez").then((r) => console.log(r.status))',
    ])
    assert.equal(stdout.trim(), '200')
    await programs.install()
    await ready(host, 40_000)
  })

  it('that no program tells of at the start: peers are routed at once, nothing says ready, what is there stays; no program sees the password', async () => {
    await lab.configure(vxlanFrom100)
    await programs.install()
    await start(['--ip-masq'])
    await ready(host)
    await host.daemon?.stop()
    const before = await iptablesRules(host)
    await host.exec(['rm', '-f', host.paths.subnetFile])
    const seen = join(programs.path, 'environment')
    await programs.hang(...PROGRAMS)
    await programs.tell('iptables-nft', seen)
    await lab.etcd.put(...strangerLease(80))
    await start(['--ip-masq'], { FLANNELD_NOBODY_KNOWS: 'secret' })
    // The first of them is waited for 5 s.
    await until(4_000, 'a route to the peer', async () => assert.match(await host.ip('route'), /10\.5\.80\.0/))
    await notReady(/./)
    await host.exec(['test', '!', '-e', host.paths.subnetFile])
    assert.deepEqual(await iptablesRules(host), before)
    assert.doesNotMatch(await readFile(seen, 'utf8'), /FLANNELD_|secret/)
    await programs.install()
    await ready(host, 40_000)
    assert.deepEqual(await iptablesRules(host), before)
  })

  for (const [nft, program] of [
    [false, 'iptables-nft-restore'],
    [true, 'nft'],
  ] as const) {
    it(`that ${program} has no permission for: not ready, named, peers are served, ready when it has`, async () => {
      await lab.configure({ ...vxlanFrom100, EnableNFTables: nft })
      await programs.install()
      await programs.forbid('iptables-nft-restore', 'ip6tables-nft-restore', ...(nft ? ['nft'] : []))
      await start()
      await notReady(new RegExp(`${program}: .*needs root and the capability NET_ADMIN.*EPERM`))
      await host.exec(['test', '!', '-e', host.paths.subnetFile])
      await lab.etcd.put(...strangerLease(nft ? 78 : 79))
      await until(1_000, 'a route to the new peer', async () => {
        assert.match(await host.ip('route'), nft ? /10\.5\.78\.0/ : /10\.5\.79\.0/)
      })
      await programs.install()
      await ready(host, 35_000)
    })
  }

  it('of a table of our name that is somebody else’s: not ready, left alone, ready when it is gone', async () => {
    await lab.configure({ ...vxlan, EnableNFTables: true })
    await programs.install()
    await start()
    await ready(host)
    await host.daemon?.stop()
    const { stdout } = await host.exec(['sh', '-c', 'nft list tables | grep "table ip flannel"'])
    const table = stdout.trim()
    await host.exec([
      'sh',
      '-c',
      `nft delete ${table}; nft add ${table}; nft add set ${table.slice(6)} mine '{ type ipv4_addr; }'`,
    ])
    await start()
    await notReady(/in the way, not made by this program and left alone: .*remove it with 'nft delete table ip flannel/)
    assert.match((await host.exec(['nft', 'list', 'ruleset'])).stdout, /set mine/)
    await host.exec(['nft', 'delete', ...table.split(' ')])
    await ready(host, 5_000)
  })

  it('start no program while nothing changes, and none for what others change elsewhere', async () => {
    await lab.configure(vxlanFrom100)
    await programs.watch()
    await start()
    await ready(host)
    // Behind the last reading back of what was written.
    const before = await steady(2_000, () => programs.used())
    assert.notEqual(before.length, 0)
    await host.exec([
      'sh',
      '-c',
      'for n in 1 2 3 4 5; do iptables-nft -t nat -N KUBE-$n; iptables-nft -t nat -A KUBE-$n -j RETURN; done',
    ])
    await host.exec(['nft', 'add', 'table', 'inet', 'other'])
    await systemClock.sleep(3_000, AbortSignal.timeout(30_000))
    assert.deepEqual(await programs.used(), before)
  })

  it('that the lock of the legacy tables is held for: not ready, named, ready when it is free (row 44)', async () => {
    await lab.configure(vxlanFrom100)
    const lock = join(host.folder, 'xtables.lock')
    await programs.install()
    await host.exec(['sh', '-c', 'iptables-legacy -A INPUT -p tcp --dport 11 -j ACCEPT'])
    const holder = await host.start(['flock', '--close', lock, 'sleep', '1000'], { log: '/dev/null' })
    try {
      await start(['--ip-masq'], { XTABLES_LOCKFILE: lock })
      await notReady(/another program holds the iptables lock; find it with: fuser -v/)
      await holder.stop()
      await ready(host, 35_000)
    } finally {
      await holder.stop()
      await host.daemon?.stop()
      await flanneld(host, ['cleanup'])
      await host.exec(['iptables-legacy', '-F', 'INPUT'])
    }
  })
})

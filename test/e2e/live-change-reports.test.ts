import assert from 'node:assert/strict'
import { access, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { long } from '../long.ts'
import { needs } from '../needs.ts'
import { ChangingHosts, sendsBy, told } from './changing-hosts.ts'
import { ChangingPair, HOST_GW, pairArgs, vxlan } from './changing-pair.ts'
import {
  bringUp,
  knowsPeers,
  leaseOf,
  logsInFailure,
  oneSegment,
  ready,
  startDaemon,
  strangerLease,
  until,
} from './world.ts'

/** Does something once when the device is there, as udev and others do it. */
const whenMade = (host: Host, device: string, command: string) => {
  const done = `${command} && touch ${join(host.folder, device)}`
  const script = `ip monitor link | while read -r line; do case "$line" in *" ${device}"[:@]*) ${done}; exit;; esac; done`
  return host.start(['sh', '-c', script], { log: '/dev/null' })
}
const wasDone = (host: Host, device: string) => access(join(host.folder, device))

interface Edit {
  readonly title: string
  /** Not in `npm test`. */
  readonly isLong?: true
  readonly prepare?: (host: Host) => Promise<unknown>
  readonly text: string
  readonly device: string
  readonly tunnel?: string
  readonly look?: (host: Host, pair: ChangingPair) => Promise<void>
}

/** Each from the one before. flannel's daemon, restarted for it, leaves flannel.1 behind (517), is given an MTU of 8950 (1572), ends (1155). */
const edits: readonly Edit[] = [
  {
    title: 'to the port of our own probes (flannel#423, cilium#16874)',
    text: vxlan({ Port: 8473 }),
    device: 'flannel-1',
    tunnel: 'flannel-1',
  },
  {
    title: 'from that port to no tunnel, of which nothing is left (flannel#517, k3s#3409)',
    text: HOST_GW,
    device: 'eth0',
  },
  {
    title: 'with keys in other letters (flannel#1554)',
    isLong: true,
    text: '{"network":"10.5.0.0/16","backend":{"type":"vxlan","Directrouting":true}}',
    device: 'eth0',
    tunnel: 'flannel.1',
  },
  {
    title: 'to an MTU that the uplink does not have (kubekey#1572, flannel#1775)',
    isLong: true,
    text: vxlan({ MTU: 9000 }),
    device: 'flannel.1',
    tunnel: 'flannel.1',
    look: async (host) => assert.equal((await host.ipJson('link', 'show', 'dev', 'flannel.1'))[0]?.['mtu'], 1450),
  },
  {
    title: 'to a device whose MAC udev changes (flannel#1155, #1330, #1795)',
    prepare: (host) =>
      whenMade(host, 'flannel.7', `ip link set flannel.7 address 02:11:22:33:44:0${host.label.slice(1)}`),
    text: vxlan({ VNI: 7 }),
    device: 'flannel.7',
    tunnel: 'flannel.7',
    look: async (host, { lab }) => {
      const [link] = await host.ipJson('link', 'show', 'dev', 'flannel.7')
      assert.equal(link?.['address'], JSON.parse((await leaseOf(lab, host)).value).BackendData.VtepMAC)
    },
  },
  {
    title: 'to a device that DHCP gives an address (flannel#1060)',
    isLong: true,
    prepare: (host) => whenMade(host, 'flannel.8', `ip addr add 169.254.9.${host.label.slice(1)}/16 dev flannel.8`),
    text: vxlan({ VNI: 8 }),
    device: 'flannel.8',
    tunnel: 'flannel.8',
  },
]

describe('a change of the network that others had trouble with', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(120_000)
  let pair: ChangingPair

  before(async () => {
    pair = await ChangingPair.start()
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, pair?.lab)
  })

  after(() => pair?.close())

  for (const { title, isLong, prepare, text, device, tunnel, look } of edits)
    if (long || !isLong)
      it(`goes through: ${title}`, async () => {
        for (const host of pair.hosts) await prepare?.(host)
        await pair.edit(text)
        await pair.goesThrough(device, tunnel)
        for (const host of pair.hosts) {
          if (prepare !== undefined) await wasDone(host, device)
          await look?.(host, pair)
        }
      })

  // flannel's daemon tries again until it is corrected; ours names it and ends, and takes nothing away.
  it('is a document in quotes: a restart ends with 78 and takes nothing away (flannel#794, #359)', async () => {
    const [host] = pair.hosts
    await pair.edit(JSON.stringify(vxlan()))
    host.daemon?.kill('SIGKILL')
    await host.daemon?.waitExit()
    const daemon = await startDaemon(host, { args: pairArgs })
    await until(15_000, 'it has ended', async () => assert.deepEqual(daemon.exit, { code: 78, signal: null }))
    assert.match(await daemon.logText(), /must be a JSON object/)
    await pair.edit(HOST_GW)
    await startDaemon(host, { args: pairArgs })
    await pair.goesThrough('eth0', undefined)
  })

  if (long)
    it('leaves no route of a host that went while the daemon was away (flannel#2554)', async () => {
      const [host] = pair.hosts
      const [key, value] = strangerLease(7, { BackendType: 'host-gw', BackendData: null })
      await pair.lab.etcd.put(key, value)
      await knowsPeers(host, 2)
      await host.daemon?.stop()
      await pair.lab.etcd.del(key)
      await pair.lab.etcd.put('/coreos.com/network/config', vxlan())
      await startDaemon(host, { args: pairArgs })
      await pair.goesThrough('flannel.1', 'flannel.1')
      assert.doesNotMatch(await host.ip('route', 'show', 'table', 'all'), /10\.5\.7\.0/)
    })
})

describe('rules of EnableNFTables whose tool is missing', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(120_000)
  let lab: Lab

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
    await lab?.close()
  })

  for (const [missing, isMissing, from] of [
    ['nft', /^nft$/, false],
    ['iptables', /^(ip6?tables|xtables)/, true],
  ] as const)
    it(`leave those of the other tool in place, without ${missing} (nixpkgs#57524)`, async () => {
      const config = (EnableNFTables: boolean) => ({
        Network: '10.5.0.0/16',
        EnableNFTables,
        Backend: { Type: 'host-gw' },
      })
      lab = await Lab.create({ segments: oneSegment(1), netConf: config(from) })
      const [host] = lab.hosts as unknown as [Host]
      const bin = join(lab.folder, 'bin')
      for (const folder of ['/usr/local/bin', '/usr/sbin', '/usr/bin']) {
        const names = (await readdir(folder).catch(() => [])).filter((name) => !isMissing.test(name))
        const links = names.map((name) => `ln -sf '${folder}/${name}' '${bin}/${name}'`)
        await host.exec(['sh', '-c', [`mkdir -p ${bin}`, ...links].join('\n')])
      }
      const rules = async () => {
        const script = 'iptables-save | grep flanneld; nft list ruleset | grep flanneld'
        const { stdout } = await host.exec(['sh', '-c', script], { anyCode: true })
        return stdout.split('\n').filter((line) => /masq|forward/.test(line))
      }
      await startDaemon(host, { args: ['--ip-masq', '--ingress-guard=off'], env: { PATH: bin } })
      await ready(host)
      const before = await rules()
      assert.ok(before.length > 0)
      await lab.configure(config(!from))
      await until(10_000, 'it is named', async () =>
        assert.match(
          JSON.stringify(await told(host)),
          new RegExp(`${missing}.* is not installed: install the package`),
        ),
      )
      assert.deepEqual(await rules(), before)
      await lab.configure(config(from))
      await until(10_000, 'it is as before', async () => assert.deepEqual(await told(host), []))
      assert.deepEqual(await rules(), before)
    })
})

if (long)
  describe('a host that is away while the others change twice', function () {
    needs(this, 'netns', 'etcd')
    this.timeout(180_000)
    let lab: Lab
    let changing: ChangingHosts | undefined

    afterEach(async function () {
      await changing?.stop()
      await logsInFailure(this.currentTest?.err, lab)
      await lab?.close()
    })

    it('is reached all the time, and no tunnel is left in the end (kube-router#728, #973, k3s#12942)', async () => {
      const config = (VNI: number) => ({ Network: '10.5.0.0/16', Backend: { Type: 'vxlan', VNI } })
      lab = await Lab.create({ segments: oneSegment(3), rpFilter: 1, netConf: config(1) })
      const [h1, h2, away] = lab.hosts as unknown as [Host, Host, Host]
      await bringUp(lab.hosts)
      for (const host of lab.hosts) await knowsPeers(host, 2)
      changing = await ChangingHosts.start(lab.hosts)
      await away.daemon?.stop()
      for (const VNI of [7, 9]) {
        await lab.configure(config(VNI))
        await until(30_000, 'the others have changed', async () => {
          const ways = [await sendsBy(h1, h2), await sendsBy(h2, h1), await sendsBy(h1, away), await sendsBy(h2, away)]
          assert.deepEqual(ways, [`flannel.${VNI}`, `flannel.${VNI}`, 'flannel.1', 'flannel.1'])
        })
        await changing.nothingLost()
      }
      await startDaemon(away)
      await changing.settled({ device: 'flannel.9', tunnel: 'flannel.9' }, async () => {})
      await changing.nothingLost()
    })
  })

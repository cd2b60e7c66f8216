import assert from 'node:assert/strict'
import { join } from 'node:path'
import { daemonCommand } from '../../lab/daemon.ts'
import type { Host } from '../../lab/host.ts'
import { long } from '../long.ts'
import { needs } from '../needs.ts'
import { sendsBy, told } from './changing-hosts.ts'
import { ChangingPair, documentOf, HOST_GW, vxlan } from './changing-pair.ts'
import { daemonProgram, logsInFailure, status, until } from './world.ts'

interface Edit {
  readonly title: string
  /** Not in `npm test`. */
  readonly isLong?: true
  /** What stands in the way, on the second host, or on the way between both. */
  readonly make?: (pair: ChangingPair) => Promise<unknown>
  readonly text: string
  readonly code: string
  /** Of the condition, with its remedy. */
  readonly says: RegExp
  /** What the remedy says, or another document: the change goes through then, to a device of this name. */
  readonly mend?: (pair: ChangingPair) => Promise<unknown>
  readonly device?: string
  readonly undo?: (pair: ChangingPair) => Promise<unknown>
}

const inHost = (script: string) => (pair: ChangingPair) => pair.hosts[1].exec(['sh', '-ec', script])
const between = (script: string) => (pair: ChangingPair) => pair.lab.router.exec(['nft', script])
const wayDrops = (rule: string) =>
  between(
    `add table bridge way; add chain bridge way f { type filter hook forward priority 0; }; add rule bridge way f udp dport 4789 ${rule}`,
  )
const wayIsFree = between('delete table bridge way')
const forwarding = (device: string, value: 0 | 1) => inHost(`sysctl -qw net.ipv4.conf.${device}.forwarding=${value}`)
const FIREWALL =
  'add table inet fw; add chain inet fw f { type filter hook forward priority 10; policy drop; }; add rule inet fw f ct state established,related accept; add rule inet fw f iifname { "flannel.1", "cni0" } accept'

/** Each from vxlan, and back. What flannel's daemon did when it was restarted for it stands behind the title. */
const edits: readonly Edit[] = [
  // tries again and again
  {
    title: 'lines that end in a backslash (flannel#479)',
    isLong: true,
    text: '{"Network": "10.5.0.0/16", \\\n "Backend": {"Type": "host-gw"}}',
    code: 'config-invalid',
    says: /must be a JSON document/,
  },
  // the same
  {
    title: 'a second family without a network (flannel#2225)',
    text: documentOf({ Type: 'vxlan' }, { EnableIPv6: true }),
    code: 'config-invalid',
    says: /IPv6Network: must be given/,
  },
  // writes no subnet.env any more
  {
    title: 'an MTU without room for the headers (talos#13459)',
    isLong: true,
    text: vxlan({ MTU: 40 }),
    code: 'config-invalid',
    says: /Backend.MTU: must be from 118/,
  },
  // ends: address already in use
  {
    title: 'a port that another device of vxlan has; the next one is taken at once (cilium#38581, #8990)',
    isLong: true,
    make: inHost('ip link add cilium_vxlan type vxlan external dstport 4789; ip link set cilium_vxlan up'),
    text: vxlan({ Port: 4789 }),
    code: 'backend-change-blocked',
    says: /UDP port 4789 is in use by the device cilium_vxlan/,
    mend: (pair) => pair.edit(HOST_GW),
    device: 'eth0',
    undo: inHost('ip link del cilium_vxlan'),
  },
  // ends: Link not found
  {
    title: 'a VNI that another device has (cilium#2925)',
    make: inHost('ip link add vxlan0 type vxlan id 7 dev eth0 dstport 8472; ip link set vxlan0 up'),
    text: vxlan({ VNI: 7 }),
    code: 'backend-change-blocked',
    says: /already exists: vxlan0/,
    undo: inHost('ip link del vxlan0'),
  },
  // loses everything, in silence; so it does with all that follow
  {
    title: 'a port that the cloud drops (flannel#1039, typhoon#466)',
    make: wayDrops('drop'),
    text: vxlan({ Port: 4789 }),
    code: 'backend-changing',
    says: /no probe is answered.*let 4789\/udp between the hosts and 8473\/udp from the overlay in/,
    undo: wayIsFree,
  },
  {
    title: 'a port on which only what is small passes (calico#9433)',
    isLong: true,
    make: wayDrops('meta length > 1400 drop'),
    text: vxlan({ Port: 4789 }),
    code: 'backend-changing',
    says: /small probes are answered, packets of 1450 bytes are not/,
    undo: wayIsFree,
  },
  {
    title: 'a firewall that knows the old device only (flannel#2055, fr8r-ansible#107)',
    make: inHost(`nft '${FIREWALL}'`),
    text: vxlan({ VNI: 7 }),
    code: 'backend-change-blocked',
    says: /policy of chain inet fw f drops what comes in by flannel.7.* nft insert rule inet fw f iifname flannel.7 accept/,
    mend: inHost('nft insert rule inet fw f iifname flannel.7 accept'),
    device: 'flannel.7',
    undo: inHost('nft delete table inet fw'),
  },
  {
    title: 'new devices that forward nothing (cni-plugin#283, systemd#468)',
    make: forwarding('default', 0),
    text: vxlan({ VNI: 9 }),
    code: 'backend-change-blocked',
    says: /net.ipv4.conf.flannel\/9.forwarding is 0.* sysctl -w net.ipv4.conf.flannel\/9.forwarding=1/,
    undo: forwarding('default', 1),
  },
  {
    title: 'an uplink that forwards nothing, to host-gw (systemd#31423)',
    isLong: true,
    make: forwarding('eth0', 0),
    text: HOST_GW,
    code: 'backend-change-blocked',
    says: /net.ipv4.conf.eth0.forwarding is 0/,
    undo: forwarding('eth0', 1),
  },
  {
    title: 'the same, to direct paths (systemd#31423, flannel#892)',
    isLong: true,
    make: forwarding('eth0', 0),
    text: vxlan({ DirectRouting: true }),
    code: 'backend-change-blocked',
    says: /net.ipv4.conf.eth0.forwarding is 0/,
    undo: forwarding('eth0', 1),
  },
]

describe('an edit of the network that cannot go through', function () {
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

  const isNamed = async (host: Host, code: string, says: RegExp) =>
    await until(20_000, 'it is named', async () => {
      const found = (await told(host)).filter((each) => each.code === code)
      assert.match(found.map(({ text, remedy }) => `${text} => ${remedy}`).join('\n'), says)
      for (const each of pair.hosts) assert.deepEqual((await status(each)).notReady, [])
    })

  for (const { title, isLong, make, text, code, says, mend, device, undo } of edits)
    if (long || !isLong)
      it(`is named, and nothing is lost: ${title}`, async () => {
        const [other, host] = pair.hosts
        await make?.(pair)
        try {
          await pair.edit(text)
          await isNamed(host, code, says)
          assert.deepEqual([await sendsBy(other, host), await sendsBy(host, other)], ['flannel.1', 'flannel.1'])
          await pair.changing.nothingLost()
          await mend?.(pair)
          if (device !== undefined) await pair.goesThrough(device, device.startsWith('flannel') ? device : undefined)
        } finally {
          await undo?.(pair)
        }
        await pair.edit(vxlan())
        await pair.goesThrough('flannel.1', 'flannel.1')
      })

  it('is named, and nothing is lost: a device that another instance has (flannel#919)', async () => {
    const [host, other] = pair.hosts
    const config = { Network: '10.77.0.0/16', Backend: { Type: 'vxlan', VNI: 7 } }
    await pair.lab.etcd.put('/other/config', JSON.stringify(config))
    const paths = {
      ...host.paths,
      subnetFile: join(host.folder, 'other.env'),
      statusSocket: join(host.folder, 'other'),
    }
    const options = { program: daemonProgram, args: ['--etcd-prefix=/other'] }
    const argv = await daemonCommand(options, paths, 'http://192.0.2.10:2379')
    const second = await host.start(argv, { log: join(host.folder, 'other.log') })
    const index = async () => (await host.ipJson('link')).find(({ ifname }) => ifname === 'flannel.7')?.ifindex
    try {
      await until(10_000, 'it has its device', async () => assert.ok((await index()) !== undefined))
      const before = await index()
      await pair.edit(vxlan({ VNI: 7 }))
      await isNamed(host, 'backend-change-blocked', /would share the device with another flanneld/)
      assert.deepEqual([await sendsBy(host, other), await index(), second.running], ['flannel.1', before, true])
      await pair.edit(vxlan())
      await until(20_000, 'it is as before', async () => assert.equal((await status(other)).backendChange, null))
      assert.deepEqual([await index(), second.running], [before, true])
      await pair.changing.nothingLost()
    } finally {
      await second.stop()
      await host.exec(['ip', 'link', 'del', 'flannel.7'], { anyCode: true })
    }
  })
})

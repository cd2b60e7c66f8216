import assert from 'node:assert/strict'
import { planText } from '../../flanneld/commands/plan-text.ts'
import type { DesiredState } from '../../kernel/desired.ts'
import { commandsFor } from '../../kernel/kinds/words.ts'
import type { DesiredObject } from '../../kernel/objects.ts'
import { preview } from '../../kernel/reconciler/preview.ts'
import { guardChains, guardPeer, guardSets } from '../conformance/guard.ts'
import { FakeKernel } from '../fakes/kernel.ts'
import * as the from '../kernel/fixtures.ts'

const scope = { ...the.desiredOf([]).scope, devices: new Set(['flannel.1', 'flannel.9']) }
const WANTED = the.desiredOf([...the.local(), ...[10, 9, 2].flatMap((number) => the.peer(number))], { scope })
const SETS = { ...guardSets, sets: guardSets.sets.slice(0, 1) }
const GUARD_PEER: DesiredObject = { ...guardPeer, role: { class: 'peer', peer: 'p' } }
const GUARD = the.desiredOf([the.required(SETS), GUARD_PEER, the.required({ ...guardChains, chains: [] })])

/** All that is wanted is there. */
function putAll(kernel: FakeKernel, { objects }: DesiredState): void {
  for (const object of objects.values()) kernel.put(object)
}

/** What was on the host, what is wanted, what is printed. */
const CASES: Record<string, [host: (kernel: FakeKernel) => void, desired: DesiredState]> = {
  'an empty host: peers in their natural order': [() => {}, WANTED],
  'a drifted host: changes, then removals the other way round': [
    (kernel) => {
      putAll(kernel, WANTED)
      for (const object of the.peer(77)) kernel.put(object)
      kernel.put(the.vxlan('flannel.9', {}, { vni: 9 }))
      kernel.put(the.address('10.64.9.0/32', 'flannel.9'))
      kernel.put(the.peerRoute('10.64.78.0/24', { device: 'flannel.9' }))
      kernel.put(the.address('10.64.99.0/32'))
      kernel.delete('route 10.64.10.0/24 metric 0')
      kernel.put(the.neighbour('10.64.9.0', the.mac(1)))
      kernel.changeDevice('flannel.1', { mtu: 1300 })
      kernel.put(the.file('junk\n'))
    },
    WANTED,
  ],
  'a device of another VNI: all that was on it is made anew': [
    (kernel) => {
      putAll(kernel, WANTED)
      kernel.put(the.vxlan('flannel.1', {}, { vni: 7 }))
      for (const object of the.peer(77)) kernel.put(object)
    },
    WANTED,
  ],
  'a guard whose sets are others: they are filled again': [
    (kernel) => {
      putAll(kernel, GUARD)
      kernel.put({ ...SETS, counters: ['another'] })
    },
    GUARD,
  ],
  'a route of somebody else in the way': [
    (kernel) => {
      putAll(kernel, WANTED)
      kernel.put(the.route('10.64.9.0/24', { protocol: 4, via: the.ip('192.0.2.9'), device: 'eth0' }))
    },
    WANTED,
  ],
  'a device of somebody else under our name': [(kernel) => kernel.addDevice('flannel.1'), WANTED],
  'peers that are not known in full: nothing is removed': [
    (kernel) => {
      for (const object of [...the.local(), ...the.peer(77)]) kernel.put(object)
    },
    { ...WANTED, complete: false },
  ],
}

const PRINTED: Record<string, string> = {
  'an empty host: peers in their natural order': `
ip link add flannel.1 address 02:aa:00:00:ff:ff mtu 1450 type vxlan id 1 local 192.0.2.1 dev eth0 dstport 8472 nolearning ttl auto
ip link set flannel.1 up
echo 2 > /proc/sys/net/ipv4/conf/flannel.1/rp_filter
ip address add 10.64.1.0/32 dev flannel.1
ip neighbour add 10.64.2.0 lladdr 02:aa:00:00:00:02 dev flannel.1 nud permanent
ip neighbour add 10.64.9.0 lladdr 02:aa:00:00:00:09 dev flannel.1 nud permanent
ip neighbour add 10.64.10.0 lladdr 02:aa:00:00:00:0a dev flannel.1 nud permanent
bridge fdb add 02:aa:00:00:00:0a dev flannel.1 dst 192.0.2.10 self permanent
bridge fdb add 02:aa:00:00:00:02 dev flannel.1 dst 192.0.2.2 self permanent
bridge fdb add 02:aa:00:00:00:09 dev flannel.1 dst 192.0.2.9 self permanent
ip route add 10.64.2.0/24 via 10.64.2.0 dev flannel.1 proto 102 onlink
ip route add 10.64.9.0/24 via 10.64.9.0 dev flannel.1 proto 102 onlink
ip route add 10.64.10.0/24 via 10.64.10.0 dev flannel.1 proto 102 onlink
install -D -m 0644 /dev/stdin /run/flannel/subnet.env <<'END'
FLANNEL_SUBNET=10.64.1.1/24
END
`,
  'a drifted host: changes, then removals the other way round': `
ip link set flannel.1 mtu 1450
ip neighbour replace 10.64.9.0 lladdr 02:aa:00:00:00:09 dev flannel.1 nud permanent
ip route add 10.64.10.0/24 via 10.64.10.0 dev flannel.1 proto 102 onlink
install -D -m 0644 /dev/stdin /run/flannel/subnet.env <<'END'
FLANNEL_SUBNET=10.64.1.1/24
END
ip route delete 10.64.77.0/24 via 10.64.77.0 dev flannel.1 proto 102 onlink
bridge fdb delete 02:aa:00:00:00:4d dev flannel.1 dst 192.0.2.77 self
ip neighbour delete 10.64.77.0 dev flannel.1
ip address delete 10.64.99.0/32 dev flannel.1
ip link delete flannel.9
`,
  'a device of another VNI: all that was on it is made anew': `
ip link delete flannel.1
ip link add flannel.1 address 02:aa:00:00:ff:ff mtu 1450 type vxlan id 1 local 192.0.2.1 dev eth0 dstport 8472 nolearning ttl auto
ip link set flannel.1 up
echo 2 > /proc/sys/net/ipv4/conf/flannel.1/rp_filter
ip address add 10.64.1.0/32 dev flannel.1
ip neighbour add 10.64.2.0 lladdr 02:aa:00:00:00:02 dev flannel.1 nud permanent
ip neighbour add 10.64.9.0 lladdr 02:aa:00:00:00:09 dev flannel.1 nud permanent
ip neighbour add 10.64.10.0 lladdr 02:aa:00:00:00:0a dev flannel.1 nud permanent
bridge fdb add 02:aa:00:00:00:0a dev flannel.1 dst 192.0.2.10 self permanent
bridge fdb add 02:aa:00:00:00:02 dev flannel.1 dst 192.0.2.2 self permanent
bridge fdb add 02:aa:00:00:00:09 dev flannel.1 dst 192.0.2.9 self permanent
ip route add 10.64.2.0/24 via 10.64.2.0 dev flannel.1 proto 102 onlink
ip route add 10.64.9.0/24 via 10.64.9.0 dev flannel.1 proto 102 onlink
ip route add 10.64.10.0/24 via 10.64.10.0 dev flannel.1 proto 102 onlink
`,
  'a guard whose sets are others: they are filled again': `
nft delete table inet flanneld-guard
nft -f - <<'END'
add table inet flanneld-guard
delete table inet flanneld-guard
table inet flanneld-guard {
	counter inner-source {
	}
	set subnets4 {
		typeof @th,336,32;
		comment "flanneld guard efc5d92d"
	}
}
END
nft 'add element inet flanneld-guard subnets4 { 0x0a050280 comment "10.5.2.0/24" }'
nft 'add element inet flanneld-guard paths4 { 192.168.64.12 . 0x0a050200 comment "10.5.2.0/24" }'
nft 'add element inet flanneld-guard vteps4 { 192.168.64.12 comment "10.5.2.0/24" }'
nft 'add element inet flanneld-guard senders4 { "flannel.1" . 10.5.2.0 comment "10.5.2.0/24", "flannel.1" . 10.5.77.0 comment "10.5.2.0/24", "uplink" . 10.5.2.0 comment "10.5.2.0/24" }'
nft -f - <<'END'
table inet flanneld-guard {
}
END
`,
  'a route of somebody else in the way': `
# route 10.64.9.0/24 metric 0: in the way, not made by this program and left alone: 10.64.9.0/24 via 192.0.2.9 dev eth0 proto 4 metric 0; remove it with 'ip route delete 10.64.9.0/24 via 192.0.2.9 dev eth0 proto 4'
`,
  'a device of somebody else under our name': `
# link flannel.1: in the way, not made by this program and left alone: flannel.1 mtu 1500 up address 02:00:00:00:00:02 type bridge; remove it with 'ip link delete flannel.1'
# sysctl net/ipv4/conf/flannel.1/rp_filter: waits for link flannel.1: in the way, not made by this program and left alone: flannel.1 mtu 1500 up address 02:00:00:00:00:02 type bridge; remove it with 'ip link delete flannel.1'
# address flannel.1 10.64.1.0/32: waits for link flannel.1: in the way, not made by this program and left alone: flannel.1 mtu 1500 up address 02:00:00:00:00:02 type bridge; remove it with 'ip link delete flannel.1'
# neighbour flannel.1 10.64.2.0: waits for link flannel.1: in the way, not made by this program and left alone: flannel.1 mtu 1500 up address 02:00:00:00:00:02 type bridge; remove it with 'ip link delete flannel.1'
# neighbour flannel.1 10.64.9.0: waits for link flannel.1: in the way, not made by this program and left alone: flannel.1 mtu 1500 up address 02:00:00:00:00:02 type bridge; remove it with 'ip link delete flannel.1'
# neighbour flannel.1 10.64.10.0: waits for link flannel.1: in the way, not made by this program and left alone: flannel.1 mtu 1500 up address 02:00:00:00:00:02 type bridge; remove it with 'ip link delete flannel.1'
# fdb flannel.1 02:aa:00:00:00:0a: waits for link flannel.1: in the way, not made by this program and left alone: flannel.1 mtu 1500 up address 02:00:00:00:00:02 type bridge; remove it with 'ip link delete flannel.1'
# fdb flannel.1 02:aa:00:00:00:02: waits for link flannel.1: in the way, not made by this program and left alone: flannel.1 mtu 1500 up address 02:00:00:00:00:02 type bridge; remove it with 'ip link delete flannel.1'
# fdb flannel.1 02:aa:00:00:00:09: waits for link flannel.1: in the way, not made by this program and left alone: flannel.1 mtu 1500 up address 02:00:00:00:00:02 type bridge; remove it with 'ip link delete flannel.1'
# route 10.64.2.0/24 metric 0: waits for link flannel.1: in the way, not made by this program and left alone: flannel.1 mtu 1500 up address 02:00:00:00:00:02 type bridge; remove it with 'ip link delete flannel.1'
# route 10.64.9.0/24 metric 0: waits for link flannel.1: in the way, not made by this program and left alone: flannel.1 mtu 1500 up address 02:00:00:00:00:02 type bridge; remove it with 'ip link delete flannel.1'
# route 10.64.10.0/24 metric 0: waits for link flannel.1: in the way, not made by this program and left alone: flannel.1 mtu 1500 up address 02:00:00:00:00:02 type bridge; remove it with 'ip link delete flannel.1'
# file /run/flannel/subnet.env: waits for link flannel.1: in the way, not made by this program and left alone: flannel.1 mtu 1500 up address 02:00:00:00:00:02 type bridge; remove it with 'ip link delete flannel.1'
`,
  'peers that are not known in full: nothing is removed': `
ip neighbour add 10.64.2.0 lladdr 02:aa:00:00:00:02 dev flannel.1 nud permanent
ip neighbour add 10.64.9.0 lladdr 02:aa:00:00:00:09 dev flannel.1 nud permanent
ip neighbour add 10.64.10.0 lladdr 02:aa:00:00:00:0a dev flannel.1 nud permanent
bridge fdb add 02:aa:00:00:00:0a dev flannel.1 dst 192.0.2.10 self permanent
bridge fdb add 02:aa:00:00:00:02 dev flannel.1 dst 192.0.2.2 self permanent
bridge fdb add 02:aa:00:00:00:09 dev flannel.1 dst 192.0.2.9 self permanent
ip route add 10.64.2.0/24 via 10.64.2.0 dev flannel.1 proto 102 onlink
ip route add 10.64.9.0/24 via 10.64.9.0 dev flannel.1 proto 102 onlink
ip route add 10.64.10.0/24 via 10.64.10.0 dev flannel.1 proto 102 onlink
`,
}

describe('`flanneld plan`', () => {
  for (const [what, [prepare, desired]] of Object.entries(CASES)) {
    it(`for ${what}`, async () => {
      const kernel = new FakeKernel()
      kernel.addDevice('eth0')
      prepare(kernel)
      const { ops, failures } = await preview(kernel.tables, desired)
      const steps = ops.map((op) => ({ op, commands: commandsFor(op) }))
      const text = planText({ ops: steps, failures, notes: [], obstacles: [], hasLease: true })
      assert.equal(text, PRINTED[what]?.slice(1))
      assert.deepEqual(
        kernel.calls.filter(({ verb }) => verb !== 'dump'),
        [],
        'nothing is changed',
      )
    })
  }
})

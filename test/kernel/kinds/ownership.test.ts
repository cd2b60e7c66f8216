import assert from 'node:assert/strict'
import { type Ownership, ownershipOf } from '../../../kernel/kinds/ownership.ts'
import type { KernelObject } from '../../../kernel/objects.ts'
import * as the from '../fixtures.ts'

const { BOOT_PROTOCOL: boot } = the
const hop = { via: the.ip('192.0.2.9'), device: 'eth0' }

const scope = {
  ...the.desiredOf([]).scope,
  devices: new Set(['flannel.1', 'flannel.2', 'flannel.ipip']),
  fouPorts: new Set([8285]),
  addresses: new Set(['10.64.1.0/32']),
}
const wanted = [
  ...the.local(),
  ...the.peer(2),
  the.required(the.vxlan('flannel.7', {}, { vni: 7 })),
  the.required(the.ipip('flannel0')),
  the.required(the.fouPort(8286)),
  the.required(the.route('10.64.1.0/24', { type: 'blackhole', metric: 4_294_967_294 })),
]
const desired = the.desiredOf(wanted, { scope })

const CASES: [string, KernelObject, Ownership][] = [
  ['our device', the.vxlan(), 'adoptable'],
  ['a vxlan device of a wanted name', the.vxlan('flannel.7', { mtu: 9000 }), 'adoptable'],
  ['an earlier device of ours', the.vxlan('flannel.2'), 'ours'],
  ['somebody’s vxlan device', the.vxlan('vx0'), 'foreign'],
  ['an ipip device of a vxlan device’s name', the.ipip('flannel.1'), 'foreign'],
  ['a vxlan device of an ipip device’s name', the.vxlan('flannel0'), 'foreign'],
  ['an ipip device of a wanted name', the.ipip('flannel0', { ttl: 9 }), 'adoptable'],
  ['an earlier ipip device of ours', the.ipip(), 'ours'],
  ['the kernel’s own tunnel', the.ipip('tunl0'), 'foreign'],
  ['an earlier FOU port of ours', the.fouPort(8285), 'ours'],
  ['our FOU port, opened for something else', the.fouPort(8285, { protocol: 47 }), 'foreign'],
  ['our FOU port, on one address only', the.fouPort(8285, { local: the.ip('192.0.2.1') }), 'foreign'],
  ['a wanted FOU port, opened for something else', the.fouPort(8286, { protocol: 47 }), 'foreign'],
  ['somebody’s FOU port', the.fouPort(5555), 'foreign'],
  ['a bridge of our name', the.bridge('flannel.1'), 'foreign'],
  ['an address on our device', the.address('10.99.0.1/32'), 'ours'],
  ['a link-local address on our device', the.address('fe80::1/64'), 'foreign'],
  ['an address that we keep on lo', the.address('10.64.1.0/32', 'lo'), 'ours'],
  ['another one there', the.address('10.64.2.0/32', 'lo'), 'foreign'],
  ['the same one elsewhere', the.address('10.64.1.0/32', 'eth0'), 'foreign'],
  ['an address elsewhere', the.address('10.64.1.1/24', 'cni0'), 'foreign'],
  ['a route with our mark on our device', the.peerRoute('172.16.0.0/24'), 'ours'],
  ['a route with our mark in our network', the.route('10.64.9.0/24', hop), 'ours'],
  [
    'a route with our mark in our network on another instance’s device',
    the.route('10.64.9.0/24', { device: 'flannel.9' }),
    'foreign',
  ],
  ['a route with our mark elsewhere: another instance’s', the.route('172.16.0.0/24', hop), 'foreign'],
  ['a blackhole with our mark elsewhere', the.route('172.16.0.0/24', { type: 'blackhole' }), 'foreign'],
  ['a boot route at a wanted key', the.route('10.64.2.0/24', { protocol: boot, ...hop }), 'adoptable'],
  [
    'a connected route at a wanted key',
    the.route('10.64.2.0/24', { protocol: 2, device: 'cni0', scope: 'link' }),
    'foreign',
  ],
  ['a static route at a wanted key', the.route('10.64.2.0/24', { protocol: 4, ...hop }), 'foreign'],
  ['a peer route of flannel', the.route('10.64.9.0/24', { protocol: boot, ...hop }), 'leftover'],
  ['one with a metric of its own', the.route('10.64.9.0/24', { protocol: boot, metric: 500, ...hop }), 'foreign'],
  ['the same on a vxlan device', the.peerRoute('10.64.9.0/24', { protocol: boot }), 'leftover'],
  ['the same without a gateway', the.route('10.64.9.0/24', { protocol: boot, device: 'cni0' }), 'foreign'],
  ['the same of another length', the.route('10.64.9.0/25', { protocol: boot, ...hop }), 'foreign'],
  ['the same outside the network', the.route('172.16.9.0/24', { protocol: boot, ...hop }), 'foreign'],
  [
    'flannel’s route for all of the network',
    the.route('10.64.0.0/10', { protocol: boot, device: 'flannel.1' }),
    'leftover',
  ],
  ['the same on somebody else’s device', the.route('10.64.0.0/10', { protocol: boot, device: 'eth0' }), 'foreign'],
  ['the same for more than the network', the.route('10.0.0.0/8', { protocol: boot, device: 'flannel.1' }), 'foreign'],
  ['flannel’s blackhole for our subnet', the.route('10.64.1.0/24', { protocol: boot, type: 'blackhole' }), 'leftover'],
  ['a blackhole for another subnet', the.route('10.64.9.0/24', { protocol: boot, type: 'blackhole' }), 'foreign'],
  ['a neighbour at a wanted key', the.neighbour('10.64.2.0', the.mac(9)), 'adoptable'],
  ['another neighbour on our device', the.neighbour('10.64.9.0', the.mac(9)), 'ours'],
  ['a neighbour elsewhere', the.neighbour('192.0.2.9', the.mac(9), 'eth0'), 'foreign'],
  ['an FDB entry at a wanted key', the.fdb(the.mac(2), '192.0.2.77'), 'adoptable'],
  ['another FDB entry on our device', the.fdb(the.mac(9), '192.0.2.9'), 'ours'],
  ['an FDB entry elsewhere', the.fdb(the.mac(9), '192.0.2.9', 'vx0'), 'foreign'],
  ['a wanted sysctl', the.sysctl('net/ipv4/conf/flannel.1/rp_filter', '0'), 'ours'],
  ['another sysctl', the.sysctl('net/ipv4/ip_forward', '0'), 'foreign'],
  ['a wanted file', the.file('old'), 'ours'],
  ['another file', the.file('old', '/etc/passwd'), 'foreign'],
]

const fou = (port: number) => the.ipip('flannel0', { encapsulation: { sourcePort: port, port } })
const engines = { ...scope, devices: new Set(['flannel0']) }
const ENGINE_CASES: [string, KernelObject, KernelObject, Ownership][] = [
  ['the tun of the other engine', the.tun(), fou(8285), 'adoptable'],
  ['a tun that its program holds', the.tun('flannel0', false), fou(8285), 'foreign'],
  ['a tun where a bare tunnel is wanted', the.tun(), the.ipip('flannel0'), 'foreign'],
  ['the FOU device of the other engine', fou(8285), the.tun(), 'adoptable'],
  ['a FOU device of a port that was never ours', fou(9999), the.tun(), 'foreign'],
  ['a bare tunnel of the name', the.ipip('flannel0'), the.tun(), 'foreign'],
  ['a tun of the name', the.tun('flannel0', false), the.tun(), 'adoptable'],
]

describe('ownership', () => {
  for (const [what, object, desired, expected] of ENGINE_CASES) {
    const state = the.desiredOf([the.required(desired)], { scope: engines })
    it(`${what}: ${expected}`, () => assert.equal(ownershipOf(object, state), expected))
  }
  for (const [what, object, expected] of CASES) {
    it(`${what}: ${expected}`, () => assert.equal(ownershipOf(object, desired), expected))
  }
})

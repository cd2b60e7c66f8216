import assert from 'node:assert/strict'
import { HostKernel } from '../../kernel/host.ts'
import { LinkTable } from '../../kernel/kinds/link/table.ts'
import { NexthopTable } from '../../kernel/kinds/nexthop/table.ts'
import { RouteTable } from '../../kernel/kinds/route/table.ts'
import { NetlinkChannel } from '../../kernel/netlink/channel.ts'
import {
  NLM_F_CREATE,
  RTM_DELNEXTHOP,
  RTM_GETNEXTHOP,
  RTM_NEWLINK,
  RTM_NEWNEXTHOP,
} from '../../kernel/netlink/constants.ts'
import { DeviceIndex } from '../../kernel/netlink/device-index.ts'
import { eachMessage } from '../../kernel/netlink/message.ts'
import { NexthopIds } from '../../kernel/netlink/nexthop-ids.ts'
import { openNetlinkSocket } from '../../kernel/netlink/socket.ts'
import type { Link } from '../../kernel/objects.ts'
import { type OpError, OpFailure } from '../../kernel/table.ts'
import * as the from '../kernel/fixtures.ts'
import { ownNamespace } from './own-namespace.ts'

const ANSWERS: readonly [what: string, verdict: OpError | undefined][] = [
  ['refuses', { code: 'EOPNOTSUPP', message: 'Operation not supported' }],
  ['says yes and changes nothing', undefined],
]

describe('a kernel that cannot change the underlay of a vxlan device', function () {
  const namespace = ownNamespace(this)

  for (const [what, verdict] of ANSWERS) {
    it(`${what}: the device is made anew, unless it could not be`, async () => {
      namespace.run('ip link add other type veth peer name far2')
      namespace.run('ip link set other up')
      const socket = openNetlinkSocket({ queueBytes: 1 << 20 })
      const channel = new NetlinkChannel({ socket })
      const devices = new DeviceIndex({ channel })
      const older = Object.create(channel, {
        dump: { value: channel.dump.bind(channel) },
        request: {
          value: async (messages: Uint8Array[], onReply?: Parameters<NetlinkChannel['request']>[1]) =>
            messages.every(isDriverChange) ? [verdict] : await channel.request(messages, onReply),
        },
      }) as NetlinkChannel
      const table = new LinkTable({ channel: older, devices, nexthops: new NexthopIds() })
      const device = the.vxlan('flannel.1', {}, { underlay: 'uplink', local: the.ip('192.168.64.11') })
      const moved: Link = { ...device, driver: { ...device.driver, underlay: 'other' } as Link['driver'] }
      const nowhere: Link = { ...moved, driver: { ...moved.driver, local: the.ip('192.168.64.98') } as Link['driver'] }
      const indexOf = () => namespace.json('ip -j link show flannel.1')[0]?.['ifindex']
      const held = async () => (await table.dump()).find(({ name }) => name === 'flannel.1')
      try {
        assert.deepEqual(await table.apply([{ verb: 'create', object: device }]), [{ ok: true }])
        const index = indexOf()
        const [refused] = await table.apply([{ verb: 'update', object: nowhere, actual: device }])
        assert(refused?.ok === false)
        assert.equal(refused.error.code, 'EADDRNOTAVAIL')
        assert.equal(indexOf(), index)
        assert.deepEqual(await table.apply([{ verb: 'update', object: moved, actual: device }]), [{ ok: true }])
        assert.notEqual(indexOf(), index)
        assert.deepEqual(await held(), moved)
      } finally {
        socket.close()
        namespace.run('ip link del flannel.1')
        namespace.run('ip link del other')
      }
    })
  }
})

describe('a kernel without nexthop objects', function () {
  const namespace = ownNamespace(this)
  const refusal: OpError = { code: 'EOPNOTSUPP', message: 'Operation not supported' }

  it('has none, says so, and takes routes with gateways', async () => {
    const socket = openNetlinkSocket({ queueBytes: 1 << 20 })
    const channel = new NetlinkChannel({ socket })
    const devices = new DeviceIndex({ channel })
    const isRefused = (message: Uint8Array) =>
      [RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP].includes(Buffer.from(message).readUInt16LE(4))
    const older = Object.create(channel, {
      dump: {
        value: async (...[message, parse]: Parameters<NetlinkChannel['dump']>) => {
          if (isRefused(message)) throw new OpFailure(refusal)
          return await channel.dump(message, parse)
        },
      },
      request: {
        value: async (messages: Iterable<Uint8Array>, onReply?: Parameters<NetlinkChannel['request']>[1]) => {
          const all = [...messages]
          return all.some(isRefused) ? all.map(() => refusal) : await channel.request(all, onReply)
        },
      },
    }) as NetlinkChannel
    const needs = { channel: older, devices, nexthops: new NexthopIds() }
    const host = new HostKernel({ ...needs, generic: undefined })
    const [nexthops, routes] = [new NexthopTable(needs), new RouteTable(needs)]
    const route = the.route('10.5.4.0/24', { via: the.ip('192.168.64.9'), device: 'uplink', onLink: true })
    try {
      assert.deepEqual([await host.hasNexthops(), await namespace.kernel.host.hasNexthops()], [false, true])
      assert.deepEqual(await nexthops.dump(), [])
      assert.deepEqual(await routes.apply([{ verb: 'create', object: route }]), [{ ok: true }])
      assert.deepEqual(
        (await routes.dump([])).filter(({ protocol }) => protocol === the.ROUTE_PROTOCOL),
        [route],
      )
    } finally {
      socket.close()
    }
  })
})

/** `ip link set NAME type ...`: says nothing of flags, MTU or MAC, and creates nothing. */
function isDriverChange(message: Uint8Array): boolean {
  const IFLA_LINKINFO = 18
  let found = false
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength)
  eachMessage(view, message.byteLength, ({ type, flags, start, end }) => {
    const first = start + 16
    found =
      type === RTM_NEWLINK &&
      (flags & NLM_F_CREATE) === 0 &&
      first < end &&
      view.getUint16(first + 2, true) === IFLA_LINKINFO
  })
  return found
}

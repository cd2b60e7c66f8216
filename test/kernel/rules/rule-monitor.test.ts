import assert from 'node:assert/strict'
import { MessageWriter } from '../../../kernel/netlink/attributes.ts'
import type { NetlinkSocket } from '../../../kernel/netlink/socket.ts'
import type { ObjectKind } from '../../../kernel/objects.ts'
import { RuleMonitor } from '../../../kernel/rules/rule-monitor.ts'
import { settleTasks, VirtualClock } from '../../fakes/clock.ts'

// linux/netfilter/nf_tables.h: NFT_MSG_* below NFNL_SUBSYS_NFTABLES; a family is AF_INET or NFPROTO_INET.
const NEWRULE = 0xa06
const [IPV4, INET] = [2, 1]
const ENOBUFS = 105

function rule(table: string, chain: string, family = IPV4): Uint8Array {
  const writer = new MessageWriter().begin(NEWRULE, 0).u8(family).u8(0).u16(0x1234)
  return writer.putText(1, table).putText(2, chain).putText(7, 'userdata').finish()
}

describe('the monitor of rules', () => {
  let clock: VirtualClock
  let queue: (Uint8Array | number)[]
  let wake: (() => unknown) | undefined
  let told: ObjectKind[]
  let stop: AbortController

  beforeEach(() => {
    clock = new VirtualClock()
    queue = []
    wake = undefined
    told = []
    stop = new AbortController()
  })
  afterEach(() => stop.abort())

  const socket: NetlinkSocket = {
    port: 0,
    send: () => assert.fail('a monitor asks nothing'),
    receive: (buffer) => {
      const next = queue.shift() ?? -11
      if (typeof next === 'number') return next
      buffer.set(next)
      return next.length
    },
    watch: (onReadable) => {
      assert.equal(wake, undefined, 'a socket is watched once')
      wake = onReadable
    },
    close: () => {},
  }
  const monitorOf = (of: NetlinkSocket | undefined, ...kinds: readonly ObjectKind[]) => {
    const monitor = new RuleMonitor({ socket: of, clock, ownPort: 0 })
    for (const kind of kinds) void monitor.watch(kind, () => told.push(kind), stop.signal)
    return monitor
  }
  const happens = async (...events: readonly (Uint8Array | number)[]) => {
    queue.push(...events)
    void wake?.()
    await settleTasks()
  }
  const toldNow = () => told.splice(0)

  it('calls who watches the kind that has changed, and nobody for what does not concern us', async () => {
    const monitor = monitorOf(socket, 'iptables-chain', 'nft-table', 'guard-chains')
    await happens(rule('filter', 'FORWARD'))
    assert.deepEqual(toldNow(), ['iptables-chain'])
    await clock.advance(500)
    await happens(rule('flannel-ipv4', 'forward'), rule('flanneld-guard', 'input', INET))
    assert.deepEqual(toldNow(), ['nft-table', 'guard-chains'])
    await clock.advance(500)
    await happens(rule('nat', 'KUBE-SERVICES'), rule('fw', 'through', INET))
    assert.deepEqual(toldNow(), [])
    monitor.chainsOfOthers = new Set(['inet fw through'])
    await happens(rule('fw', 'through', INET))
    assert.deepEqual(toldNow(), ['iptables-chain'])
  })

  it('calls at once, and then twice a second at most', async () => {
    monitorOf(socket, 'iptables-chain')
    for (let count = 0; count < 5; count += 1) {
      await happens(rule('filter', 'FORWARD'))
      await clock.advance(50)
    }
    assert.equal(toldNow().length, 1)
    await clock.advance(250)
    assert.equal(toldNow().length, 1)
    await clock.advance(10_000)
    assert.deepEqual(toldNow(), [])
  })

  it('takes lost events for a change of everything', async () => {
    monitorOf(socket, 'iptables-chain', 'guard-peer')
    await happens(-ENOBUFS)
    assert.deepEqual(toldNow(), ['iptables-chain', 'guard-peer'])
  })

  it('reads no events before somebody watches, and calls nobody who does no longer', async () => {
    const monitor = monitorOf(socket)
    assert.equal(wake, undefined)
    void monitor.watch('iptables-chain', () => told.push('iptables-chain'), stop.signal)
    stop.abort()
    await settleTasks()
    await happens(rule('filter', 'FORWARD'))
    assert.deepEqual(toldNow(), [])
  })

  it('passes on a change of the legacy tables where the kernel has no nf_tables, too', () => {
    monitorOf(undefined, 'iptables-chain', 'nft-table').legacyChanged()
    assert.deepEqual(toldNow(), ['iptables-chain'])
  })
})

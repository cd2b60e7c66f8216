import { execFileSync } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { nexthopId } from '../../kernel/kinds/nexthop/kind.ts'
import type { KernelEvent } from '../../kernel/table.ts'
import type { World } from '../conformance/tables.ts'
import { type OwnNamespace, ownNamespace } from './own-namespace.ts'

/**
 * Events come within a millisecond or so; the longest pause within a cascade is the kernel's clean-up after a device, which
 * takes longer on a busy machine.
 */
const QUIET_MS = 200
/** Between two cases, where nothing is asserted. */
const PAUSE_MS = 40
const OUR_KINDS: ReadonlySet<string> = new Set(['vxlan', 'ipip', 'tun'])

/** A namespace of the real kernel for the conformance suites; call inside `describe`. */
export function realWorld(suite: Mocha.Suite): () => World {
  const namespace = ownNamespace(suite)
  let events: KernelEvent[] = []
  let world: World | undefined
  suite.beforeAll(() => {
    namespace.kernel.monitor.start((burst) => void events.push(...burst))
    world = worldOf(namespace, {
      count: () => events.length,
      take: () => {
        const told = events
        events = []
        return told
      },
    })
  })
  return () => {
    if (world === undefined) throw new TypeError('the world is there while tests run')
    return world
  }
}

function worldOf(namespace: OwnNamespace, told: { count(): number; take(): KernelEvent[] }): World {
  const { kernel, run } = namespace
  const lines = (...all: string[]) => all.forEach((line) => void run(line))
  const silence = async (ms: number) => {
    for (let count = -1; count !== told.count(); await delay(ms)) count = told.count()
    return told.take()
  }
  return {
    tables: kernel.tables,
    hand: {
      setUp: (device, up) => lines(`ip link set ${device} ${up ? 'up' : 'down'}`),
      setMac: (device, mac) => lines(`ip link set ${device} address ${mac}`),
      deleteDevice: (device) => lines(`ip link del ${device}`),
      addAddress: (device, address) => lines(`ip addr add ${address} dev ${device}`),
      deleteNexthop: (nexthop) => lines(`ip nexthop del id ${nexthopId(nexthop)}`),
      deleteAddress: (device, address) => lines(`ip addr del ${address} dev ${device}`),
    },
    events: () => silence(QUIET_MS),
    reset: async () => {
      // Few programs: under emulation each takes longer than most cases.
      const links = namespace.json('ip -d -j link') as unknown as readonly {
        ifname: string
        linkinfo?: { info_kind?: string }
      }[]
      // The kernel's own cannot be deleted.
      const ours = links.filter(
        ({ ifname, linkinfo }) => ifname !== 'tunl0' && OUR_KINDS.has(linkinfo?.info_kind ?? ''),
      )
      for (const port of kernel.tables.filter(({ kind }) => kind === 'fou-port')) {
        await port.apply((await port.dump([])).map((object) => ({ verb: 'remove', object })))
      }
      const missing = !links.some(({ ifname }) => ifname === 'uplink')
      const batch = [
        ...ours.map(({ ifname }) => `link del ${ifname}`),
        ...(missing ? ['link add uplink type veth peer name far', 'link set far up'] : []),
        'link set uplink up',
        'addr replace 192.168.64.11/24 dev uplink',
        'addr replace fd64::11/64 dev uplink nodad',
      ]
      execFileSync('ip', ['-batch', '-'], { input: batch.join('\n') })
      lines('ip route flush proto 102', 'ip -6 route flush proto 102', 'ip nexthop flush proto 102')
      await silence(PAUSE_MS)
    },
  }
}

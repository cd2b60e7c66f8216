import { setTimeout as delay } from 'node:timers/promises'
import type { KernelEvent } from '../../kernel/table.ts'
import { tablesConformance, type World } from '../conformance/tables.ts'
import { ownNamespace } from './own-namespace.ts'

/** Events come within a millisecond or so; the longest pause within a cascade is the kernel's clean-up after a device. */
const QUIET_MS = 40

describe('conformance of the real kernel', function () {
  const namespace = ownNamespace(this)
  let events: KernelEvent[] = []
  let world: World

  before(() => {
    const { kernel, run } = namespace
    kernel.monitor.start((burst) => void events.push(...burst))
    const lines = (...all: string[]) => all.forEach((line) => void run(line))
    world = {
      tables: kernel.tables,
      hand: {
        setUp: (device, up) => lines(`ip link set ${device} ${up ? 'up' : 'down'}`),
        setMac: (device, mac) => lines(`ip link set ${device} address ${mac}`),
        deleteDevice: (device) => lines(`ip link del ${device}`),
        addAddress: (device, address) => lines(`ip addr add ${address} dev ${device}`),
        deleteAddress: (device, address) => lines(`ip addr del ${address} dev ${device}`),
      },
      events: async () => {
        for (let count = -1; count !== events.length; await delay(QUIET_MS)) count = events.length
        const told = events
        events = []
        return told
      },
      reset: async () => {
        for (const { ifname } of namespace.json('ip -j link show type vxlan')) {
          if (ifname !== undefined) run(`ip link del ${ifname}`)
        }
        if (!run('ip -br link').includes('uplink')) {
          lines('ip link add uplink type veth peer name far', 'ip link set far up')
        }
        lines('ip link set uplink up', 'ip route flush proto 102', 'ip -6 route flush proto 102')
        lines('ip addr replace 192.168.64.11/24 dev uplink', 'ip addr replace fd64::11/64 dev uplink nodad')
        await world.events()
      },
    }
  })

  tablesConformance(() => world)
})

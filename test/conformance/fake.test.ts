import { keyOf } from '../../kernel/objects.ts'
import type { KernelEvent } from '../../kernel/table.ts'
import { settleTasks } from '../fakes/clock.ts'
import { FakeKernel } from '../fakes/kernel.ts'
import * as the from '../kernel/fixtures.ts'
import { guardConformance } from './guard.ts'
import { rulesConformance } from './rules.ts'
import { tablesConformance, type World } from './tables.ts'
import { tunnelsConformance } from './tunnels.ts'

describe('conformance of the fake kernel', () => {
  let world: World

  beforeEach(() => {
    const kernel = new FakeKernel()
    let events: KernelEvent[] = []
    kernel.onEvents = (burst) => void events.push(...burst)
    const address = (device: string, text: string) => the.address(text, device)
    kernel.addDevice('uplink')
    for (const text of ['192.168.64.11/24', 'fd64::11/64']) {
      kernel.change({ verb: 'create', object: address('uplink', text) })
    }
    world = {
      tables: kernel.tables,
      hand: {
        setUp: (device, up) => kernel.changeDevice(device, { up }),
        setMac: (device, mac) => kernel.changeDevice(device, { mac: mac as ReturnType<typeof the.mac> }),
        deleteDevice: (device) => kernel.delete(`link ${device}`),
        addAddress: (device, text) => void kernel.change({ verb: 'create', object: address(device, text) }),
        deleteNexthop: (nexthop) => kernel.delete(keyOf(nexthop)),
        deleteAddress: (device, text) => kernel.delete(`address ${device} ${text}`),
      },
      events: async () => {
        await settleTasks()
        const told = events
        events = []
        return told
      },
      reset: async () => {},
    }
  })

  tablesConformance(() => world)
  tunnelsConformance(() => world)
})

describe('conformance of the fake kernel’s rules', () => {
  let kernel: FakeKernel
  beforeEach(() => {
    kernel = new FakeKernel()
  })

  rulesConformance(() => kernel.tables)
  guardConformance(() => kernel.tables)
})

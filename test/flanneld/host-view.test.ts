import assert from 'node:assert/strict'
import type { ExternalInterface } from '../../backends/backend.ts'
import { HostView } from '../../flanneld/host/host-view.ts'
import type { Kept } from '../../flanneld/host/kept-choice.ts'
import type { HostInterface, HostKernel } from '../../kernel/host.ts'
import type { IpAddr } from '../../lib/address.ts'
import { VirtualClock } from '../fakes/clock.ts'

const external: ExternalInterface = {
  name: 'eth0',
  index: 2,
  mtu: 1500,
  addresses: new Map([[4, '192.168.64.11' as IpAddr]]),
  publicIps: new Map([[4, '192.168.64.11' as IpAddr]]),
  reason: 'test',
}

function device(name: string, ...addresses: readonly string[]): HostInterface {
  const parsed = addresses.map((text) => {
    const [address = '', length] = text.split('/')
    return { address: address as IpAddr, length: Number(length), family: address.includes(':') ? 6 : 4 } as const
  })
  return { name, index: 1, mtu: 1500, up: true, addresses: parsed } as unknown as HostInterface
}

async function read(...interfaces: readonly HostInterface[]): Promise<HostView> {
  const kernel = { listInterfaces: async () => interfaces, hasNexthops: async () => true } as unknown as HostKernel
  // A new object each time, as the real choice gives.
  const host = new HostView({ kernel, clock: new VirtualClock(), choose: async () => ({ external: { ...external } }) })
  await host.read()
  return host
}

describe('the view of the host', () => {
  it('gives the same values again while the host is the same, so that nobody compares them in vain', async () => {
    const host = await read(device('eth0', '192.168.64.11/24'))
    const before = await host.facts(new Map(), 'unused')
    await host.read()
    const after = await host.facts(new Map(), 'unused')
    for (const [field, value] of Object.entries(before)) {
      assert.equal(after[field as keyof typeof after], value, field)
    }
  })

  const settings: [all: string, eth0: string, isStrict: boolean][] = [
    ['0', '1', true],
    ['1', '0', true],
    ['0', '2', false],
    ['2', '1', false],
    ['0', '0', false],
  ]
  for (const [all, eth0, isStrict] of settings) {
    it(`calls a reverse path filter of ${all} and ${eth0} ${isStrict ? '' : 'not '}strict, whatever was made of it meanwhile`, async () => {
      const path = (name: string) => `net/ipv4/conf/${name}/rp_filter`
      const originals = new Map([
        [path('all'), all],
        [path('eth0'), eth0],
      ])
      const host = await read(device('eth0', '192.168.64.11/24'))
      assert.equal((await host.facts(new Map(), 'probe', originals)).strictReversePath, isStrict)
      assert.equal((await host.facts(new Map(), 'lookup', originals)).strictReversePath, false)
    })
  }

  const running = (look: (at: number) => Kept, list: () => readonly HostInterface[] = () => []) => {
    const clock = new VirtualClock()
    const kernel = { listInterfaces: async () => list(), hasNexthops: async () => true } as unknown as HostKernel
    const host = new HostView({ kernel, clock, choose: async () => look(clock.now()) })
    const stop = new AbortController()
    const faults: unknown[] = []
    const start = async () => {
      await host.read()
      const ended = host.run(stop.signal, (fault) => void faults.push(fault))
      await clock.advance(0)
      return async () => {
        stop.abort(new Error('over'))
        await ended
      }
    }
    return { clock, host, faults, start }
  }

  it('looks again when the choice asks for it, and tells of another address on the same interface', async () => {
    const next = { ...external, addresses: new Map([[4, '192.168.64.99' as IpAddr]] as const) }
    const { clock, host, start } = running((at) => (at < 5_000 ? { external, dueAt: 5_000 } : { external: next }))
    const end = await start()
    host.onEvents([{ type: 'overrun' }], new Set())
    await clock.advance(1_000)
    const told = host.changes.current
    await clock.advance(3_999)
    assert.deepEqual([host.external, host.changes.current], [external, told])
    await clock.advance(1)
    assert.deepEqual(host.external, next)
    assert.notEqual(host.changes.current, told)
    await end()
  })

  it('is read again after a second where it could not be read', async () => {
    let readings = 0
    const list = () => {
      readings += 1
      if (readings === 2) throw new Error('interrupted')
      return []
    }
    const { clock, host, faults, start } = running(() => ({ external }), list)
    const end = await start()
    host.onEvents([{ type: 'overrun' }], new Set())
    await clock.advance(200)
    assert.match(String(faults.at(-1)), /interrupted/)
    await clock.advance(1_000)
    assert.deepEqual([readings, faults.at(-1)], [3, undefined])
    await clock.advance(60_000)
    assert.equal(readings, 3)
    await end()
  })
})

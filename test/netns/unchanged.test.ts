import assert from 'node:assert/strict'
import type { KernelObject } from '../../kernel/objects.ts'
import { ownNamespace, tableOf } from './own-namespace.ts'

/** A table that says "unchanged" wrongly would hide a lost event from the audit. */
describe('a table of thousands', function () {
  const namespace = ownNamespace(this)
  const changes: readonly [KernelObject['kind'], readonly string[]][] = [
    [
      'route',
      [
        'ip route add 10.5.1.0/24 dev uplink proto 102',
        'ip route replace 10.5.1.0/24 dev uplink proto 3',
        'ip route del 10.5.1.0/24',
        'ip -6 route add fc00:0:0:5::/64 dev uplink',
        'ip -6 route del fc00:0:0:5::/64 dev uplink',
      ],
    ],
    [
      'nexthop',
      [
        'ip nexthop add id 7 via 10.5.1.0 dev uplink onlink proto 102',
        'ip nexthop replace id 7 via 10.5.1.1 dev uplink onlink proto 102',
        'ip nexthop replace id 7 via 10.5.1.1 dev uplink onlink proto 3',
      ],
    ],
    [
      'neighbour',
      [
        'ip neigh add 10.5.1.0 lladdr 02:00:00:00:00:01 dev uplink nud permanent',
        'ip neigh replace 10.5.1.0 lladdr 02:00:00:00:00:02 dev uplink nud permanent',
        'ip neigh replace 10.5.1.0 lladdr 02:00:00:00:00:02 dev uplink nud reachable',
      ],
    ],
    [
      'fdb',
      [
        'ip link add digest type vxlan id 77 dstport 4777 nolearning',
        'bridge fdb add 02:00:00:00:00:01 dev digest dst 192.168.64.12 self permanent',
        'bridge fdb replace 02:00:00:00:00:01 dev digest dst 192.168.64.13 self permanent',
        'bridge fdb del 02:00:00:00:00:01 dev digest self',
      ],
    ],
  ]
  for (const [kind, commands] of changes) {
    it(`notices every change of kind ${kind}, and only changes`, async () => {
      const table = tableOf<KernelObject>(namespace.kernel, kind)
      for (const command of commands) {
        await table.dump([])
        assert.equal(await table.unchanged?.(), true, `before ${command}`)
        namespace.run(command)
        // A device alone has no FDB entries.
        if (!command.startsWith('ip link')) assert.equal(await table.unchanged?.(), false, command)
      }
    })
  }

  it('takes no notice of what the kernel resolves by itself', async () => {
    const table = tableOf<KernelObject>(namespace.kernel, 'neighbour')
    await table.dump([])
    namespace.run('ip neigh replace 192.168.64.77 lladdr 02:00:00:00:00:77 dev uplink nud stale')
    assert.equal(await table.unchanged?.(), true)
  })
})

import assert from 'node:assert/strict'
import type { ClearPath } from '../../kernel/rules/objects.ts'
import { ClearPathTable } from '../../kernel/tables/clear-paths.ts'
import type { Cidr } from '../../lib/address.ts'
import { ownNamespace } from './own-namespace.ts'

const path: ClearPath = {
  kind: 'clear-path',
  hook: 'forward',
  family: 4,
  network: '10.5.0.0/16' as Cidr,
  obstacles: [],
}

describe('what stands in the way of forwarded packets', function () {
  this.timeout(20_000)
  const namespace = ownNamespace(this)

  it('is a stranger’s chain, never one of ours, the ingress guards of all instances included', async () => {
    const { sets } = namespace.kernel.rules
    const drops = (table: string) => {
      namespace.run(`nft add table inet ${table}`)
      namespace.run(`nft add chain inet ${table} forward { type filter hook forward priority 0 ; policy drop ; }`)
    }
    for (const table of ['flanneld-guard', 'flanneld-guard-0badcafe', 'wall']) drops(table)
    const [found] = await new ClearPathTable({ sets }).dump([path])
    assert.deepEqual([...sets.watched], ['inet wall forward'])
    assert.deepEqual(
      found?.obstacles.map(({ text }) => /inet (\S+)/.exec(text)?.[1]),
      ['wall'],
    )
  })
})

import assert from 'node:assert/strict'
import type { IptablesChain } from '../../kernel/kinds/iptables-chain/kind.ts'
import type { NftTable } from '../../kernel/kinds/nft-table/kind.ts'
import { compare, type KernelObject, keyOf } from '../../kernel/objects.ts'
import { markedRules } from '../../kernel/rules/nft-text.ts'
import type { ObjectTable, Op } from '../../kernel/table.ts'

const chain = (world: IptablesChain['world'], family: 4 | 6): IptablesChain => {
  const network = family === 4 ? '10.5.0.0/16' : 'fc00::/48'
  const comment = '-m comment --comment "flanneld forward"'
  return {
    kind: 'iptables-chain',
    world,
    family,
    table: 'filter',
    name: 'FLANNEL-FWD',
    rules: [`-s ${network} ${comment} -j ACCEPT`, `-d ${network} ${comment} -j ACCEPT`],
    jumps: [{ from: 'FORWARD', rule: `${comment} -j FLANNEL-FWD`, place: 'last' }],
  }
}

const table = (family: 4 | 6): NftTable => {
  const [ip, network] = family === 4 ? ['ip', '10.5.0.0/16'] : ['ip6', 'fc00::/48']
  const rules = markedRules('flanneld forward', [`${ip} saddr ${network} accept`, `${ip} daddr ${network} accept`])
  const forward = { name: 'forward', type: 'filter', hook: 'forward', priority: 0, policy: 'accept', rules } as const
  return { kind: 'nft-table', family, name: `flannel-ipv${family}`, chains: [forward] }
}

const OBJECTS: readonly (IptablesChain | NftTable)[] = [
  ...([4, 6] as const).flatMap((family) => [chain('nft', family), chain('legacy', family)]),
  table(4),
  table(6),
]

function changed(object: IptablesChain | NftTable): KernelObject {
  if (object.kind === 'iptables-chain') return { ...object, rules: object.rules.slice(1) }
  return { ...object, chains: [] }
}

/** The cases that tables of rules must pass, on a host without rules; call inside `describe`. */
export function rulesConformance(tables: () => readonly ObjectTable[]): void {
  const tableOf = ({ kind }: KernelObject) => tables().find((candidate) => candidate.kind === kind) as ObjectTable
  const apply = async (op: Op<KernelObject>) => {
    const [result] = await tableOf(op.object).apply([op])
    return result?.ok ? 'ok' : result?.error.code
  }
  const find = async (object: KernelObject) =>
    (await tableOf(object).dump([object])).find((held) => keyOf(held) === keyOf(object))

  for (const object of OBJECTS) {
    it(`${keyOf(object)}: made, found as it was asked for, changed, removed`, async () => {
      assert.equal(await find(object), undefined)
      assert.equal(await apply({ verb: 'create', object }), 'ok')
      const actual = await find(object)
      assert(actual !== undefined)
      assert.equal(compare(actual, object), 'same')
      const next = changed(object)
      assert.equal(compare(actual, next), 'update')
      assert.equal(await apply({ verb: 'update', object: next, actual }), 'ok')
      const after = await find(object)
      assert(after !== undefined)
      assert.equal(compare(after, next), 'same')
      assert.equal(await apply({ verb: 'remove', object: after }), 'ok')
      assert.equal(await find(object), undefined)
    })

    it(`${keyOf(object)}: removal of what is not there is refused, the rest of the batch is done`, async () => {
      const [gone, made] = await tableOf(object).apply([
        { verb: 'remove', object },
        { verb: 'create', object },
      ])
      assert.equal(gone?.ok, false)
      assert.equal(made?.ok, true)
      const held = await find(object)
      assert(held !== undefined)
      assert.equal(await apply({ verb: 'remove', object: held }), 'ok')
    })
  }
}

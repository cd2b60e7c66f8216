import assert from 'node:assert/strict'
import { parseNftTable } from '../../../kernel/kinds/nft-table/parse.ts'

describe('JSON of nft', () => {
  it('that is none of a table is an error or nothing, never a table', () => {
    assert.throws(() => parseNftTable('{}'), SyntaxError)
    assert.throws(() => parseNftTable('nonsense'), SyntaxError)
    assert.equal(parseNftTable('{"nftables":[{"metainfo":{}}]}'), undefined)
  })

  it('with sets or chains without a hook is somebody else’s', () => {
    const table = (more: object) =>
      parseNftTable(JSON.stringify({ nftables: [{ table: { family: 'ip', name: 'x' } }, more] }))
    assert.equal(table({ set: { name: 's' } })?.alien, true)
    assert.equal(table({ chain: { name: 'c' } })?.alien, true)
    assert.equal(
      table({ chain: { name: 'c', type: 'nat', hook: 'postrouting', prio: 100, policy: 'accept' } })?.alien,
      undefined,
    )
  })
})

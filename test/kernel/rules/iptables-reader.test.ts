import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { IptablesReader } from '../../../kernel/rules/iptables-reader.ts'
import type { IptablesTools } from '../../../kernel/rules/iptables-tools.ts'
import type { Netfilter } from '../../../kernel/rules/netfilter.ts'
import { until } from '../../until.ts'

/** Prints what the file `rules` held when it was started, as soon as the file `go` is there. */
const PROGRAM = `#!/bin/sh
cd "$(dirname "$0")"
rules=$(cat rules)
echo >> started
while [ ! -e go ]; do sleep 0.01; done
echo "$rules"
`

describe('reading of iptables rules by several at once', () => {
  let folder: string
  let generation: number
  let reader: IptablesReader

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'iptables-reader-'))
    writeFileSync(join(folder, 'iptables-nft-save'), PROGRAM, { mode: 0o755 })
    generation = 1
    const tools = { of: async () => ({ base: join(folder, 'iptables-nft') }) } as unknown as IptablesTools
    const netfilter = {
      generation: async () => generation,
      tables: async () => [{ family: 'ip', name: 'filter' }],
    } as unknown as Netfilter
    reader = new IptablesReader({ tools, netfilter }, { world: 'nft', family: 4 })
    hold('ONE')
  })

  afterEach(() => rmSync(folder, { recursive: true }))

  const hold = (chain: string) => writeFileSync(join(folder, 'rules'), `*filter\n:${chain} - [0:0]\nCOMMIT`)
  const started = () => (existsSync(join(folder, 'started')) ? readFileSync(join(folder, 'started'), 'utf8').length : 0)
  const isStarted = () => until(5_000, 'started', async () => assert.equal(started(), 1))
  const go = () => writeFileSync(join(folder, 'go'), '')
  const chains = async (reading = reader.read()) => [...((await reading).get('filter')?.keys() ?? [])]

  it('starts one program where nothing changes meanwhile', async () => {
    go()
    assert.deepEqual(await Promise.all([chains(), chains()]), [['ONE'], ['ONE']])
    assert.equal(started(), 1)
  })

  it('tells who polls of a change that somebody else has read before', async () => {
    go()
    assert.deepEqual([await reader.poll(), await reader.poll()], [true, false])
    hold('TWO')
    reader.forget()
    assert.deepEqual(await chains(), ['TWO'])
    assert.deepEqual([await reader.poll(), await reader.poll()], [true, false])
  })

  it('answers each with what was there when he asked, or later', async () => {
    const first = reader.read()
    await isStarted()
    hold('TWO')
    generation = 2
    const second = reader.read()
    go()
    assert.deepEqual([await chains(first), await chains(second), await chains()], [['ONE'], ['TWO'], ['TWO']])
  })

  it('remembers nothing that was read while we changed something', async () => {
    const first = reader.read()
    await isStarted()
    hold('TWO')
    reader.forget()
    go()
    await first
    assert.deepEqual(await chains(), ['TWO'])
  })
})

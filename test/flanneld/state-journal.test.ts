import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { claimFootprint } from '../../flanneld/state/claim-footprint.ts'
import { DiskWrites } from '../../flanneld/state/disk-writes.ts'
import { parseScope, parseSysctls } from '../../flanneld/state/journal-files.ts'
import { peekState, StateDir } from '../../flanneld/state/state-dir.ts'
import { ConditionSet } from '../../flanneld/status/status.ts'
import type { OwnershipScope } from '../../kernel/desired.ts'
import type { JournalEntry } from '../../kernel/kinds/kind.ts'
import { entriesOf, MemoryJournal, NO_ENTRIES, scopeOf, withEntries } from '../../kernel/reconciler/journal.ts'
import type { Cidr } from '../../lib/address.ts'
import { ConfigError } from '../../lib/errors.ts'
import { createLogger } from '../../lib/log.ts'
import { VirtualClock } from '../fakes/clock.ts'

const RP_FILTER = 'net/ipv4/conf/eth0/rp_filter'
const network: JournalEntry = { kind: 'network', network: '10.5.0.0/16' as Cidr, subnetLen: 24 }
const device = (name: string): JournalEntry => ({ kind: 'device', name })
const fouPort = (port: number): JournalEntry => ({ kind: 'fou-port', port })
const sysctl: JournalEntry = { kind: 'sysctl', path: RP_FILTER, value: '1' }

/** What version 0.1 wrote: of a vxlan with DirectRouting on a strict host, and of udp in the kernel after another network. */
const VERSION_0_1 = [
  {
    'footprint.json': '{"version":1,"devices":["flannel.1"],"networks":[{"network":"10.5.0.0/16","subnetLen":24}]}\n',
    'sysctls.json': '{"net/ipv4/conf/eth0/rp_filter":"1"}\n',
    entries: [device('flannel.1'), network, sysctl],
  },
  {
    'footprint.json':
      '{"version":1,"devices":["flannel.1","flannel0"],"fouPorts":[8285],"networks":[{"network":"10.5.0.0/16","subnetLen":24},{"network":"fd00:5::/48","subnetLen":64}]}\n',
    'sysctls.json': '{}\n',
    entries: [
      device('flannel.1'),
      device('flannel0'),
      fouPort(8285),
      network,
      { kind: 'network', network: 'fd00:5::/48' as Cidr, subnetLen: 64 } as const,
    ],
  },
]

describe('the journal in the state directory', () => {
  let path: string
  let lines: string[]
  const clock = new VirtualClock()
  const uid = process.getuid?.() ?? 0
  const openState = () =>
    StateDir.open(
      {
        uid,
        writes: new DiskWrites({ conditions: new ConditionSet({ clock }), clock, isStarting: () => true }),
        randomBytes: (count) => new Uint8Array(count),
        log: createLogger((severity, message, fields) =>
          lines.push(`${severity} ${message} ${JSON.stringify(fields)}`),
        ),
      },
      path,
    )
  const open = async () => (await openState()).journal
  const put = (name: string, text: string) => writeFileSync(join(path, name), text, { mode: 0o600 })
  const text = (name: string) => readFileSync(join(path, name), 'utf8')

  beforeEach(() => {
    path = mkdtempSync(join(tmpdir(), 'journal-'))
    chmodSync(path, 0o700)
    lines = []
  })
  afterEach(() => rmSync(path, { recursive: true, force: true }))

  VERSION_0_1.forEach((files, index) => {
    it(`reads what version 0.1 has written (${index + 1}), and writes what it reads`, async () => {
      put('footprint.json', files['footprint.json'])
      put('sysctls.json', files['sysctls.json'])
      const journal = await open()
      assert.deepEqual([...journal.entries.values()], files.entries)
      assert.deepEqual((await peekState(path, uid))?.entries, journal.entries)
      await journal.record([device('flannel.9')])
      await journal.forget([device('flannel.9')], 'over')
      assert.equal(text('footprint.json'), files['footprint.json'])
      assert.equal(text('sysctls.json'), files['sysctls.json'])
    })
  })

  it('has an entry on disk before `record` resolves, in private files', async () => {
    const journal = await open()
    for (const entry of [device('flannel.1'), network, fouPort(8285), sysctl]) {
      assert.equal(await journal.record([entry]), true)
      assert.deepEqual((await open()).entries.size, journal.entries.size)
    }
    assert.deepEqual(
      (await open()).entries,
      withEntries(NO_ENTRIES, [device('flannel.1'), fouPort(8285), network, sysctl]),
    )
    for (const name of readdirSync(path)) assert.equal(statSync(join(path, name)).mode & 0o7777, 0o600)
  })

  it('writes nothing when nothing is new', async () => {
    const journal = await open()
    await journal.record([device('flannel.1'), sysctl])
    const before = readdirSync(path).map((name) => statSync(join(path, name)).ino)
    await journal.record([device('flannel.1')])
    await journal.record([{ ...sysctl, value: '2' } as JournalEntry])
    await journal.forget([device('flannel.2')], 'over')
    assert.deepEqual(
      readdirSync(path).map((name) => statSync(join(path, name)).ino),
      before,
    )
  })

  it('says what it gives up, and why', async () => {
    const journal = await open()
    await journal.record([device('flannel.1'), network, sysctl])
    await journal.forget([sysctl], 'over')
    assert.deepEqual(lines, [])
    await journal.forget([device('flannel.1'), network], 'over')
    assert.deepEqual(lines, [
      'info given up what an earlier configuration used {"devices":"flannel.1","networks":"10.5.0.0/16","why":"over"}',
    ])
    assert.equal((await open()).entries.size, 0)
  })

  it('is gone after a clean-up', async () => {
    const journal = await open()
    await journal.record([device('flannel.1'), sysctl])
    await journal.clear()
    assert.deepEqual(readdirSync(path), [])
    await journal.record([device('flannel.1')])
    assert.equal((await open()).entries.size, 1)
  })

  const NETWORKS = '"networks":[{"network":"10.5.0.0/16","subnetLen":24}]'
  const damaged: [what: string, file: string, text: string, left: readonly JournalEntry[]][] = [
    ['that is empty', 'footprint.json', '', [sysctl]],
    ['that is cut off', 'footprint.json', '{"version":1,"devices":["flannel.1"', [sysctl]],
    ['of zeros', 'footprint.json', '\0'.repeat(64), [sysctl]],
    ['of another version', 'footprint.json', `{"version":2,"devices":["flannel.1"],${NETWORKS}}`, [sysctl]],
    ['without a version', 'footprint.json', `{"devices":["flannel.1"],${NETWORKS}}`, [sysctl]],
    ['of another program', 'footprint.json', '{"cniVersion":"1.0.0","name":"cbr0"}', [sysctl]],
    ['that is a list', 'footprint.json', '[]', [sysctl]],
    ['with devices that are no list', 'footprint.json', `{"version":1,"devices":"flannel.1",${NETWORKS}}`, [sysctl]],
    [
      'with a network that is none',
      'footprint.json',
      '{"version":1,"devices":[],"networks":[{"network":"10.5.0.0","subnetLen":24}]}',
      [sysctl],
    ],
    [
      'with a subnet wider than its network',
      'footprint.json',
      '{"version":1,"devices":[],"networks":[{"network":"10.5.0.0/16","subnetLen":8}]}',
      [sysctl],
    ],
    [
      'with a port that is none',
      'footprint.json',
      `{"version":1,"devices":["flannel.1"],"fouPorts":[0],${NETWORKS}}`,
      [sysctl],
    ],
    ['that is cut off', 'sysctls.json', '{', [device('flannel.1'), network]],
    ['that is a list', 'sysctls.json', '[]', [device('flannel.1'), network]],
    ['that leaves its folder', 'sysctls.json', '{"net/ipv4/conf/../../kernel/x":"1"}', [device('flannel.1'), network]],
    ['with another setting', 'sysctls.json', '{"kernel/core_pattern":"1"}', [device('flannel.1'), network]],
    ['with a number', 'sysctls.json', `{"${RP_FILTER}":1}`, [device('flannel.1'), network]],
    ['with a command', 'sysctls.json', `{"${RP_FILTER}":"|/bin/sh"}`, [device('flannel.1'), network]],
  ]
  for (const [what, file, damage, left] of damaged) {
    it(`is read as far as it can be: ${file} ${what} owns nothing and is told`, async () => {
      put('footprint.json', `{"version":1,"devices":["flannel.1"],${NETWORKS}}`)
      put('sysctls.json', `{"${RP_FILTER}":"1"}`)
      put(file, damage)
      const journal = await open()
      assert.deepEqual([...journal.entries.values()], left)
      assert.match(
        lines.join('\n'),
        /^warn record of (used networks|changed sysctls) was damaged and begun anew [^\n]*$/,
      )
      assert.deepEqual((await peekState(path, uid))?.entries, journal.entries)
      await journal.record([device('flannel.2'), { ...sysctl, value: '0' } as JournalEntry])
      assert.ok((await open()).entries.has('device flannel.2'))
    })
  }

  it('loses a device that no kernel has, which version 0.1 wrote, says so, and keeps the rest', async () => {
    put('footprint.json', `{"version":1,"devices":["flannel.1","flannel-v6.10000","a/b","a b","",7],${NETWORKS}}`)
    assert.deepEqual([...(await open()).entries.values()], [device('flannel.1'), network])
    assert.equal(lines.filter((line) => /warn device on record can be none of any kernel/.test(line)).length, 5)
  })

  it('does not take the word of anybody for a device that cannot be ours', async () => {
    put('footprint.json', `{"version":1,"devices":["flannel.1","vxlan.calico","eth0"],${NETWORKS}}`)
    assert.deepEqual([...(await open()).entries.values()], [device('flannel.1'), network])
    assert.equal(lines.filter((line) => /warn device on record is none of ours, not heeded/.test(line)).length, 2)
  })

  it('that is a directory is told, and nothing is owned', async () => {
    mkdirSync(join(path, 'footprint.json'))
    await assert.rejects(open(), /is no plain file/)
  })

  it('is read with named errors only, whatever it holds', () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
        for (const parse of [parseScope, parseSysctls]) {
          try {
            parse(text)
          } catch (cause) {
            assert.ok(cause instanceof ConfigError || cause instanceof SyntaxError)
          }
        }
      }),
    )
  })
})

describe('the claim of what a configuration uses', () => {
  const uses = (...entries: readonly JournalEntry[]): OwnershipScope => scopeOf(withEntries(NO_ENTRIES, entries))
  const wide = (text: string): JournalEntry => ({ kind: 'network', network: text as Cidr, subnetLen: 24 })
  const present = uses(device('flannel.2'), wide('10.64.0.0/16'))
  const before = [device('flannel.1'), device('flannel.2'), fouPort(8285), network, wide('10.64.0.0/16'), sysctl]

  const others: [what: string, other: OwnershipScope, gone: readonly JournalEntry[]][] = [
    ['nothing', uses(device('x'), wide('10.77.0.0/16')), []],
    ['a device', uses(device('flannel.1'), wide('10.77.0.0/16')), [device('flannel.1')]],
    ['a FOU port', uses(device('x'), fouPort(8285)), [fouPort(8285)]],
    ['a network', uses(device('x'), wide('10.5.128.0/17')), [network]],
    ['a wider network', uses(device('x'), wide('10.4.0.0/15')), [network]],
  ]
  for (const [what, other, gone] of others) {
    it(`leaves another running instance ${what} of old that it uses now`, async () => {
      const journal = new MemoryJournal(withEntries(NO_ENTRIES, before))
      const claimed: OwnershipScope[] = []
      const make = async (footprint: OwnershipScope) => {
        claimed.push(footprint)
        return [other]
      }
      await claimFootprint({ claim: { make }, journal }, present)
      assert.deepEqual(claimed, [present])
      assert.deepEqual(
        [...journal.entries.values()],
        before.filter((entry) => !gone.some((each) => JSON.stringify(each) === JSON.stringify(entry))),
      )
    })
  }

  it('is refused as the claim is, and gives nothing up', async () => {
    const journal = new MemoryJournal(withEntries(NO_ENTRIES, before))
    const make = async () => {
      throw new ConfigError('Network', 'must not overlap')
    }
    await assert.rejects(claimFootprint({ claim: { make }, journal }, present), ConfigError)
    assert.deepEqual(entriesOf(scopeOf(journal.entries)).length, 5)
  })
})

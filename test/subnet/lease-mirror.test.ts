import assert from 'node:assert/strict'
import { LeaseMirror, type RawLease } from '../../subnet/lease-mirror.ts'

const raw = (id: string, modified: number, more: Partial<RawLease> = {}): RawLease => ({
  id,
  value: Buffer.from('{"PublicIP":"192.168.64.1"}'),
  created: '2',
  modified: String(modified),
  expiry: '77',
  ...more,
})

function listed(...entries: RawLease[]): LeaseMirror {
  const mirror = new LeaseMirror()
  relist(mirror, 10, true, entries)
  return mirror
}

function relist(mirror: LeaseMirror, revision: number, sameHistory: boolean, entries: readonly RawLease[]): void {
  const list = mirror.beginList(sameHistory)
  for (const entry of entries) list.add(entry)
  list.commit(BigInt(revision))
}

const ids = (mirror: LeaseMirror) => [...mirror.snapshot().leases.keys()]

describe('LeaseMirror', () => {
  it('makes leases of a comparable age', () => {
    const lease = listed(raw('10.5.1.0-24', 9)).snapshot().leases.get('10.5.1.0-24')
    assert.deepEqual([lease?.age, lease?.reserved], ['00000000000000000002', false])
    assert.equal(
      listed(raw('10.5.1.0-24', 9, { expiry: '0' }))
        .snapshot()
        .leases.get('10.5.1.0-24')?.reserved,
      true,
    )
  })

  it('decodes only what changed: unchanged leases stay the same objects', () => {
    const mirror = listed(raw('10.5.1.0-24', 9), raw('10.5.2.0-24', 9))
    const before = mirror.snapshot().leases
    mirror.put(raw('10.5.2.0-24', 11))
    relist(mirror, 12, true, [raw('10.5.1.0-24', 9), raw('10.5.2.0-24', 11)])
    const after = mirror.snapshot().leases
    assert.equal(after.get('10.5.1.0-24'), before.get('10.5.1.0-24'))
    assert.notEqual(after.get('10.5.2.0-24'), before.get('10.5.2.0-24'))
  })

  it('decodes everything again where the history was replaced', () => {
    const mirror = listed(raw('10.5.1.0-24', 9))
    relist(mirror, 9, false, [raw('10.5.1.0-24', 9, { value: Buffer.from('{"PublicIP":"192.168.64.2"}') })])
    assert.equal(mirror.snapshot().leases.get('10.5.1.0-24')?.families.get(4)?.publicIp, '192.168.64.2')
    assert.equal(mirror.snapshot().revision, '9')
  })

  it('keeps a snapshot as it is, and makes a new one only after a change', () => {
    const mirror = listed(raw('10.5.1.0-24', 9))
    const before = mirror.snapshot()
    assert.equal(mirror.snapshot(), before)
    mirror.remove('10.5.1.0-24', '11')
    assert.deepEqual([before.leases.size, mirror.snapshot().leases.size, mirror.snapshot().revision], [1, 0, '11'])
  })

  it('forgets an unfinished list', () => {
    const mirror = listed(raw('10.5.1.0-24', 9))
    mirror.beginList(true).add(raw('10.5.9.0-24', 11))
    assert.deepEqual(ids(mirror), ['10.5.1.0-24'])
  })

  it('shows a write before the watch tells of it, and ignores what the watch says too late', () => {
    const mirror = listed()
    mirror.learn('10.5.1.0-24', raw('10.5.1.0-24', 15), '15')
    assert.deepEqual(ids(mirror), ['10.5.1.0-24'])
    mirror.put(raw('10.5.1.0-24', 12, { value: Buffer.from('garbage') }))
    mirror.remove('10.5.1.0-24', '13')
    assert.deepEqual(ids(mirror), ['10.5.1.0-24'])
    mirror.remove('10.5.1.0-24', '16')
    assert.deepEqual(ids(mirror), [])
  })

  it('does not bring back what the watch already saw deleted', () => {
    const mirror = listed()
    mirror.put(raw('10.5.1.0-24', 11))
    mirror.remove('10.5.1.0-24', '12')
    mirror.learn('10.5.1.0-24', raw('10.5.1.0-24', 11), '11')
    assert.deepEqual(ids(mirror), [])
  })

  it('keeps a write that is newer than a list', () => {
    const mirror = listed()
    mirror.learn('10.5.1.0-24', raw('10.5.1.0-24', 15), '15')
    relist(mirror, 14, true, [])
    assert.deepEqual(ids(mirror), ['10.5.1.0-24'])
    relist(mirror, 16, true, [])
    assert.deepEqual(ids(mirror), [])
  })

  it('keeps unreadable entries apart, with one line for each', () => {
    const mirror = listed(raw('10.5.1.0-24', 9, { value: Buffer.from([0xff, 0xfe]) }), raw('x\ny', 9))
    const { leases, unreadable } = mirror.snapshot()
    assert.equal(leases.size, 0)
    assert.deepEqual(
      unreadable.map(({ reason }) => reason),
      ['unreadable', 'foreign-key'],
    )
    assert.doesNotMatch(unreadable.map(({ text }) => text).join(), /\n/)
  })
})

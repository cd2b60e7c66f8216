import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { type Configuration, parseConfiguration } from '../../flanneld/node/configuration.ts'
import { footprintOf } from '../../flanneld/node/footprint.ts'
import { DiskWrites } from '../../flanneld/state/disk-writes.ts'
import { StateDir } from '../../flanneld/state/state-dir.ts'
import { ConditionSet } from '../../flanneld/status/status.ts'
import { entriesOf, scopeOf } from '../../kernel/reconciler/journal.ts'
import { systemClock } from '../../lib/clock.ts'
import { ConfigError } from '../../lib/errors.ts'
import { silentLogger } from '../../lib/log.ts'

const v4 = { Network: '10.5.0.0/16' }
const v6 = { EnableIPv4: false, EnableIPv6: true, IPv6Network: 'fc00::/48' }
const dual = { ...v4, EnableIPv6: true, IPv6Network: 'fc00::/48' }

/** As the daemon does at its start. */
function check(text: string): Configuration {
  return parseConfiguration(text, 'net-conf.json')
}

describe('a configuration', () => {
  const vxlan = (families: object, backend: object) => ({ ...families, Backend: { Type: 'vxlan', ...backend } })
  const refused: readonly [document: unknown, says: RegExp][] = [
    [vxlan(v4, { MTU: 40 }), /^Backend\.MTU: must be from 118 to 65535, or 0 .* none below 68\), got 40$/],
    [vxlan(v4, { MTU: 117 }), /^Backend\.MTU: .* from 118 .* got 117$/],
    [vxlan(dual, { MTU: 117 }), /^Backend\.MTU: .* from 118 /],
    [vxlan(v6, { MTU: 1329 }), /^Backend\.MTU: .* from 1330 .* none below 1280\), got 1329$/],
    [
      vxlan(dual, { VNI: 10_000 }),
      /^Backend\.VNI: .* most 9999 where IPv6 .*flannel-v6\.10000 .* 16 char.* got 10000$/,
    ],
    [vxlan(v6, { VNI: 10_000 }), /^Backend\.VNI: .* most 9999 where IPv6 /],
    [vxlan(v4, { VNI: 10_000_000 }), /^Backend\.VNI: .* most 9999999 where IPv4 .*flannel\.10000000 .* 16 char/],
    [{ ...vxlan(v4, {}), Network: '127.5.0.0/16' }, /^Network: must not lie in 127\.0\.0\.0\/8: .*loopback/],
    [{ ...vxlan(v4, {}), Network: '239.0.0.0/8' }, /^Network: .*multicast/],
    [{ ...vxlan(v6, {}), IPv6Network: 'fe80::/64' }, /^IPv6Network: .*link-local/],
    [{ ...vxlan(v6, {}), IPv6Network: 'ff05::/64' }, /^IPv6Network: .*multicast/],
    [{ ...vxlan(v6, {}), IPv6Network: '::ffff:10.5.0.0/112' }, /^IPv6Network: .*IPv4 addresses written as IPv6/],
    [{ ...vxlan(v4, {}), EnableNFTables: 'true' }, /^EnableNFTables: must be true or false, got "true"$/],
  ]
  for (const [document, says] of refused) {
    it(`is refused as ${JSON.stringify(document)}`, () => {
      assert.throws(
        () => check(JSON.stringify(document)),
        (cause) => cause instanceof ConfigError && says.test(cause.message),
      )
    })
  }

  it('with a number that JSON has and nothing else can hold is refused, naming it', () => {
    assert.throws(
      () => check('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":1e400}}'),
      /^ConfigError: Backend\.VNI: must be an integer from 1 to 16777215, got "Infinity"$/,
    )
  })

  const accepted: readonly unknown[] = [
    vxlan(v4, { MTU: 118 }),
    vxlan(v4, { MTU: 0 }),
    vxlan(v4, { MTU: 65_535 }),
    // IPv6 alone is in trouble then.
    vxlan(dual, { MTU: 1000 }),
    vxlan(v6, { MTU: 1330 }),
    vxlan(dual, { VNI: 9999 }),
    vxlan(v4, { VNI: 9_999_999 }),
    // Ranges that hold a special one are networks of people all the same.
    { ...vxlan(v4, {}), Network: '126.0.0.0/7' },
    { ...vxlan(v4, {}), Network: '240.0.0.0/8' },
    { ...vxlan(v4, {}), Network: '169.254.0.0/16' },
  ]
  for (const document of accepted) {
    it(`is taken as ${JSON.stringify(document)}`, () => void check(JSON.stringify(document)))
  }

  it('that passes names only devices that every kernel takes and the state directory reads back', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'config-values-'))
    try {
      let next = 0
      const number = fc.oneof(fc.integer({ min: 0, max: 2 ** 24 }), fc.constantFrom(1, 9999, 10_000, 9_999_999))
      const document = fc.record({
        families: fc.constantFrom(v4, v6, dual),
        Type: fc.constantFrom('vxlan', 'udp', 'ipip', 'host-gw', 'alloc'),
        VNI: number,
        Port: fc.integer({ min: 0, max: 70_000 }),
        MTU: fc.integer({ min: 0, max: 70_000 }),
      })
      await fc.assert(
        fc.asyncProperty(document, async ({ families, ...Backend }) => {
          let configuration: Configuration
          try {
            configuration = check(JSON.stringify({ ...families, Backend }))
          } catch (cause) {
            assert.ok(cause instanceof ConfigError)
            return
          }
          const footprint = footprintOf([configuration])
          for (const name of footprint.devices) assert.match(name, /^flannel[a-z0-9._-]{0,8}$/)
          const conditions = new ConditionSet({ clock: systemClock })
          const needs = {
            writes: new DiskWrites({ conditions, clock: systemClock, isStarting: () => true }),
            uid: process.getuid?.() ?? 0,
            randomBytes: (n: number) => new Uint8Array(n),
            log: silentLogger,
          }
          const path = join(folder, String(next++))
          const state = await StateDir.open(needs, path)
          await state.journal.record(entriesOf(footprint))
          const again = await StateDir.open(needs, path)
          assert.deepEqual(again.journal.entries, state.journal.entries)
          assert.deepEqual(entriesOf(scopeOf(again.journal.entries)), entriesOf(footprint))
        }),
        { numRuns: 60 },
      )
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

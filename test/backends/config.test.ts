import assert from 'node:assert/strict'
import { backendFor } from '../../backends/registry.ts'
import { ConfigError } from '../../lib/errors.ts'

/** The keys of `Backend` in the network configuration (compatibility contract, section 2), whose backends are there. */
describe('the keys of a backend', () => {
  const boolean = /^must be true or false$/
  const port = /^must be an integer from \d to 65535$/
  const keys: readonly [type: string, key: string, bad: readonly unknown[], expected: RegExp][] = [
    ['vxlan', 'VNI', [0, 2 ** 24, -1, 1.5, '1', true, {}], /^must be an integer from 1 to 16777215$/],
    ['vxlan', 'Port', [65536, -1, '8472', [8472]], port],
    ['vxlan', 'GBP', ['true', 1], boolean],
    ['vxlan', 'Learning', ['true', 0], boolean],
    ['vxlan', 'DirectRouting', ['yes', 1, {}], boolean],
    ['vxlan', 'MTU', [-1, 65536, '1400', 1400.5], /^must be an integer from 0 to 65535$/],
    ['udp', 'Port', [65536, -1, '8285', 0.5], port],
    ['ipip', 'DirectRouting', ['yes', 1], boolean],
  ]
  for (const [type, key, bad, expected] of keys) {
    it(`refuse ${bad.map((value) => JSON.stringify(value)).join(', ')} as ${type}'s ${key}, naming path and value`, () => {
      for (const value of bad) {
        for (const spelling of [key, key.toLowerCase(), key.toUpperCase()]) {
          assert.throws(
            () => backendFor(type).parseConfig({ Type: type, [spelling]: value }, []),
            (cause) => {
              assert.ok(cause instanceof ConfigError, String(cause))
              assert.equal(cause.path, `Backend.${key}`)
              assert.match(cause.expected, expected)
              assert.ok(cause.message.endsWith(`, got ${JSON.stringify(value)}`), cause.message)
              return true
            },
          )
        }
      }
    })
  }

  it('that Windows alone uses are known, others are named', () => {
    const warnings: string[] = []
    backendFor('vxlan').parseConfig(
      { Type: 'vxlan', MacPrefix: '0E-2A', Name: 'flannel', Directrouting: true },
      warnings,
    )
    assert.deepEqual(warnings, [])
    for (const type of ['vxlan', 'host-gw', 'alloc', 'udp', 'ipip']) {
      backendFor(type).parseConfig({ Type: type, Prot: 1, __proto__: { Port: 1 } }, warnings)
      assert.match(warnings.pop() ?? '', /^Backend\.Prot: unknown key/)
      assert.deepEqual(warnings, [])
    }
  })
})

import assert from 'node:assert/strict'
import fc from 'fast-check'
import { configValues, documentOf } from '../../../flanneld/config/values.ts'
import { parseConfiguration } from '../../../flanneld/node/configuration.ts'

const read = (document: unknown) => parseConfiguration(JSON.stringify(document), 'net-conf.json')

describe('the values of a configuration', () => {
  const v4 = { Network: '10.5.0.0/16' }
  const said: readonly [document: object, key: string, value: unknown, source: string, fallback?: unknown][] = [
    [{ Network: '10.5.1.2/16', Backend: { Type: 'vxlan' } }, 'Network', '10.5.0.0/16', 'document'],
    [{ ...v4, Backend: { Type: 'VXLAN' } }, 'Backend.Type', 'vxlan', 'document'],
    [v4, 'Backend.Type', 'udp', 'default', 'udp'],
    [v4, 'Backend.Port', 8285, 'default', 8285],
    [{ ...v4, Backend: { Type: 'udp', Engine: 'kernel' } }, 'Backend.Engine', 'kernel', 'document', 'auto'],
    [{ ...v4, Backend: { Type: 'vxlan', vni: 7 } }, 'Backend.VNI', 7, 'document', 1],
    [{ ...v4, Backend: { Type: 'vxlan', VNI: 1 } }, 'Backend.VNI', 1, 'document', 1],
    [{ ...v4, Backend: { Type: 'vxlan', Port: 0 } }, 'Backend.Port', 8472, 'default', 8472],
    [{ ...v4, Backend: { Type: 'vxlan', MTU: null } }, 'Backend.MTU', 0, 'default', 0],
    [{ ...v4, Backend: { Type: 'ipip', DirectRouting: true } }, 'Backend.DirectRouting', true, 'document', false],
    [{ ...v4, subnetlen: 26 }, 'SubnetLen', 26, 'document', 24],
    [{ ...v4, SubnetLen: 26 }, 'SubnetMin', '10.5.0.64', 'default', '10.5.0.64'],
    [{ ...v4, SubnetMax: '10.5.9.0' }, 'SubnetMax', '10.5.9.0', 'document', '10.5.255.0'],
    [{ Network: '10.5.0.0/23', SubnetLen: 0 }, 'SubnetLen', 25, 'default', 25],
    [{ ...v4, EnableIPv6: true, IPv6Network: 'fc00::/48' }, 'IPv6SubnetLen', 64, 'default', 64],
    [{ ...v4, EnableIPv6: true, IPv6Network: 'fc00::/48' }, 'EnableIPv6', true, 'document', false],
    [
      { EnableIPv4: false, EnableIPv6: true, IPv6Network: 'fc00::/48', Backend: { Type: 'vxlan' } },
      'EnableIPv4',
      false,
      'document',
    ],
  ]
  for (const [document, key, value, source, fallback] of said) {
    it(`${key} is ${value}, from the ${source}, in ${JSON.stringify(document)}`, () => {
      const found = configValues(JSON.stringify(document), 'net-conf.json').find((each) => each.key === key)
      assert.deepEqual(found, { key, value, source, ...(fallback !== undefined && { default: fallback }) })
    })
  }

  it('of a node whose subnet is assigned are none of those that choose one', () => {
    const text = JSON.stringify({ ...v4, SubnetLen: 7, Backend: { Type: 'host-gw' } })
    const keys = configValues(text, 'net-conf.json', 'assigned').map(({ key }) => key)
    assert.deepEqual(keys, ['EnableIPv4', 'Network', 'EnableIPv6', 'EnableNFTables', 'Backend.Type'])
  })

  it('written out are a configuration that says the same', () => {
    const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined })
    const backend = fc.oneof(
      fc.record({ Type: fc.constantFrom('host-gw', 'alloc', 'Host-GW') }),
      fc.record({ Type: fc.constant('ipip'), DirectRouting: maybe(fc.boolean()) }),
      fc.record({
        Type: fc.constant('udp'),
        Port: maybe(fc.nat(65535)),
        Engine: maybe(fc.constantFrom('auto', 'kernel', 'userspace')),
      }),
      fc.record({
        Type: fc.constant('vxlan'),
        VNI: maybe(fc.integer({ min: 1, max: 9999 })),
        Port: maybe(fc.nat(65535)),
        GBP: maybe(fc.boolean()),
        Learning: maybe(fc.boolean()),
        DirectRouting: maybe(fc.boolean()),
        MTU: maybe(fc.constantFrom(0, 1400, 9000)),
      }),
    )
    const document = fc.record({
      Network: fc.constantFrom('10.5.0.0/16', '10.0.0.0/8', '192.168.7.0/26'),
      SubnetLen: maybe(fc.constantFrom(0, 28)),
      EnableIPv6: maybe(fc.boolean()),
      IPv6Network: fc.constantFrom('fc00::/48', 'fd00:1::/100'),
      EnableNFTables: maybe(fc.boolean()),
      Backend: maybe(backend),
    })
    fc.assert(
      fc.property(document, (given) => {
        const once = read(given)
        const written = documentOf(once)
        const again = read(written)
        assert.deepEqual(
          [again.network.families, again.network.nftables],
          [once.network.families, once.network.nftables],
        )
        assert.deepEqual([again.backend, again.config, again.warnings], [once.backend, once.config, []])
        assert.deepEqual(documentOf(again), written)
      }),
    )
  })
})

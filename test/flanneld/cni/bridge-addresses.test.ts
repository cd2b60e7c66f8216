import assert from 'node:assert/strict'
import { missingGateways } from '../../../flanneld/cni/bridge-addresses.ts'
import type { BridgeFacts } from '../../../flanneld/cni/facts.ts'
import type { Cidr, Family, IpAddr } from '../../../lib/address.ts'

describe('gateways that the bridge has not', () => {
  const subnets = new Map<Family, Cidr>([
    [4, '10.5.9.0/24' as Cidr],
    [6, 'fd05:0:0:9::/64' as Cidr],
  ])
  const bridge = (ports: number, ...addresses: string[]): BridgeFacts => ({
    name: 'cni0',
    ports,
    addresses: addresses.map((address) => ({ address: address as IpAddr, length: 24 })),
  })
  const cases: readonly (readonly [string, BridgeFacts | undefined, readonly string[], readonly string[]])[] = [
    ['are those of families in which a container is on record', bridge(1), ['cbr0 10.5.9.7'], ['10.5.9.1/24']],
    ['are those of both', bridge(1), ['cbr0 10.5.9.7', 'cbr0 fd05:0:0:9::7'], ['10.5.9.1/24', 'fd05:0:0:9::1/64']],
    ['are none where they are there', bridge(1, '10.5.9.1'), ['cbr0 10.5.9.7'], []],
    ['are none for containers of another network or subnet', bridge(1), ['blue 10.5.9.7', 'cbr0 10.5.3.7'], []],
    ['are none where nothing hangs on it', bridge(0), ['cbr0 10.5.9.7'], []],
    ['are none without a bridge', undefined, ['cbr0 10.5.9.7'], []],
  ]
  for (const [title, found, onRecord, missing] of cases) {
    it(title, () => {
      const reservations = onRecord.map((each) => {
        const [network = '', address] = each.split(' ')
        return { network, address: address as IpAddr, container: 'c' }
      })
      const named = missingGateways(found, reservations, { network: 'cbr0', subnets })
      assert.deepEqual(
        named.map(({ address, length }) => `${address}/${length}`),
        missing,
      )
    })
  }
})

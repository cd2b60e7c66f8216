import assert from 'node:assert/strict'
import type { Levels } from '../../../flanneld/node/levels.ts'
import { presumeLease } from '../../../flanneld/node/presumed-lease.ts'
import type { IpAddr } from '../../../lib/address.ts'
import { emptySurroundings } from '../../../subnet/surroundings.ts'
import type { Lease } from '../../../subnet/types.ts'
import { lease, networkOf, snapshot } from '../../subnet/leases.ts'

const network = networkOf({ Network: '10.5.0.0/16', SubnetMin: '10.5.52.0', SubnetMax: '10.5.53.0' })
const own = '192.168.64.1' as IpAddr
const want = {
  network,
  attrs: {
    node: 'n1',
    primary: { backend: 'vxlan', data: new Map() },
    accepts: [],
    publicIps: new Map([[4, own] as const]),
    tunnelIps: new Map(),
  },
}
const memory = {
  ours: new Set<string>(),
  originals: new Map<string, string>(),
  isPlanned: () => false,
  isFirst: true,
  keptOurs: new Set<string>(),
}
const options = { previousSubnets: new Map(), protectedRanges: [] }

function presume(leases: readonly Lease[], given: typeof want | undefined = want) {
  const host = { surroundings: () => emptySurroundings } as unknown as NonNullable<Levels['host']>
  return presumeLease({ host, leases: snapshot(leases), storeAddresses: [] }, given, memory, options)
}

describe('a presumed lease', () => {
  it('is the first free one', () => {
    const { lease: found } = presume([lease('10.5.52.0/24')]) ?? {}
    assert.deepEqual(
      [found?.id, found?.families],
      ['10.5.53.0-24', new Map([[4, { subnet: '10.5.53.0/24', publicIp: own }]])],
    )
  })

  it('is none where all are taken', () => {
    assert.match(presume([lease('10.5.52.0/24'), lease('10.5.53.0/24')])?.conflict ?? '', /no free subnet is left/)
  })

  it('is the one of a node that has the same public address, which is asked first', () => {
    const other = lease('10.5.53.0/24', { ip: own, node: 'n2' })
    assert.deepEqual(presume([other]), { lease: other, askedFirst: other })
  })

  it('is another one where the own one does not fit', () => {
    assert.equal(presume([lease('10.5.9.0/24', { ip: own, node: 'n1' })])?.lease?.id, '10.5.52.0-24')
  })

  it('is not known before all is known that it follows from', () => {
    assert.equal(presumeLease({}, want, memory, options), undefined)
    assert.equal(presumeLease({ leases: snapshot([]), storeAddresses: [] }, want, memory, options), undefined)
  })
})

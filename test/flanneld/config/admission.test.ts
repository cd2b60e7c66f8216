import assert from 'node:assert/strict'
import { objections } from '../../../flanneld/config/admission.ts'
import { beginWith } from '../../../flanneld/config/kept.ts'
import { parseConfiguration } from '../../../flanneld/node/configuration.ts'
import type { IpAddr } from '../../../lib/address.ts'
import type { SubnetOrigin } from '../../../subnet/network-config.ts'
import { lease } from '../../subnet/leases.ts'

const v4 = { Network: '10.5.0.0/16', Backend: { Type: 'vxlan' } }
const dual = { ...v4, EnableIPv6: true, IPv6Network: 'fc00::/48' }
const read = (document: object, subnets?: SubnetOrigin) =>
  parseConfiguration(JSON.stringify(document), 'etcd:/c', subnets)

describe('a new configuration', () => {
  const own = lease('10.5.3.0/24')
  const other = lease('10.5.200.0/24')
  const leases = new Map([own, other].map((each) => [each.id, each]))
  const backend = (type: string, more: object = {}) => ({ Backend: { Type: type, ...more } })

  const judged: readonly (readonly [says: string, before: object, after: object, path: string | undefined])[] = [
    ['the same', v4, v4, undefined],
    ['a larger network with the same start', v4, { ...v4, Network: '10.4.0.0/15' }, undefined],
    ['a smaller one that still has everybody', v4, { ...v4, Network: '10.5.0.0/16', SubnetLen: 24 }, undefined],
    ['a smaller one without another node', v4, { ...v4, Network: '10.5.0.0/17' }, 'Network'],
    ['another network', v4, { ...v4, Network: '10.6.0.0/16' }, 'Network'],
    ['another length', v4, { ...v4, SubnetLen: 25 }, 'SubnetLen'],
    ['other bounds', v4, { ...v4, SubnetMin: '10.5.99.0', SubnetMax: '10.5.99.0' }, undefined],
    ['a second family', v4, dual, undefined],
    ['one family less', dual, v4, undefined],
    ['another backend', v4, { ...v4, ...backend('host-gw') }, undefined],
    ['a backend without IPv6 in a dual network', dual, { ...dual, ...backend('ipip') }, 'Backend.Type'],
    ['another backend and one family less', dual, { ...v4, ...backend('ipip') }, 'Backend'],
    ['another backend and a second family', v4, { ...dual, ...backend('host-gw') }, 'Backend'],
    ['the other family', v4, { ...dual, EnableIPv4: false }, 'EnableIPv4'],
    ['the first family turned off', dual, { ...dual, EnableIPv4: false }, undefined],
    [
      'a backend that lacked IPv6 before, too',
      { ...dual, ...backend('udp') },
      { ...dual, ...backend('ipip') },
      undefined,
    ],
    ['GBP alone', v4, { ...v4, ...backend('vxlan', { GBP: true }) }, 'Backend.GBP'],
    ['GBP with another VNI on the same port', v4, { ...v4, ...backend('vxlan', { GBP: true, VNI: 2 }) }, 'Backend.GBP'],
    ['GBP on another port', v4, { ...v4, ...backend('vxlan', { GBP: true, Port: 4789 }) }, undefined],
  ]
  for (const [says, before, after, path] of judged) {
    it(`${path === undefined ? 'is used' : 'is refused'}: ${says}`, () => {
      const found = objections(read(after), read(before), { own, leases, occupied: [] })
      assert.deepEqual(found[0]?.path, path, JSON.stringify(found))
    })
  }

  it('is refused with what would be renumbered, by name', () => {
    const many = Array.from({ length: 9 }, (_unused, n) => lease(`10.5.${n + 20}.0/24`))
    const all = new Map([own, ...many].map((each) => [each.id, each]))
    const [found] = objections(read({ ...v4, Network: '10.6.0.0/16' }), read(v4), { own, leases: all, occupied: [] })
    assert.equal(
      found?.text,
      '10.5.3.0/24, the subnet of this node, does not lie in 10.6.0.0/16; to be renumbered besides: 10.5.20.0-24, 10.5.21.0-24, 10.5.22.0-24 and 6 more',
    )
  })

  it('may leave reservations outside, and subnets of other lengths as they are', () => {
    const reserved = lease('10.5.200.0/24', { reserved: true })
    const short = lease('10.5.4.0/26')
    const those = { own: short, leases: new Map([short, reserved].map((each) => [each.id, each])), occupied: [] }
    assert.deepEqual(objections(read({ ...v4, Network: '10.5.0.0/17' }), read(v4), those), [])
    assert.deepEqual(objections(read({ ...v4, SubnetLen: 25 }), read(v4), those), [])
  })

  it('waits while the leases of the others are not known, where this node has one', () => {
    const larger = read({ ...v4, Network: '10.4.0.0/15' })
    const judge = (mine: typeof own | undefined) =>
      objections(larger, read(v4), { own: mine, leases: undefined, occupied: [] }).map(({ text }) => text)
    assert.match(judge(own).join(), /leases of the other nodes are not known yet/)
    assert.deepEqual(judge(undefined), [])
  })

  describe('with one family less', () => {
    const both = lease('10.5.3.0/24 fc00:0:0:3::/64')
    const judge = (occupied: readonly string[] | undefined, more: object = {}) =>
      objections(read(v4), read(dual), { own: both, leases, occupied: occupied as readonly IpAddr[], ...more })

    it('waits for containers that have its addresses', () => {
      const [found] = judge(['10.5.3.1', 'fc00:0:0:3::1'])
      assert.equal(found?.path, 'EnableIPv6')
      assert.match(
        found?.remedy ?? '',
        /take fc00:0:0:3::1 from this host's end \(bridge or veth\); or set EnableIPv6 to true again/,
      )
      assert.deepEqual(judge(['10.5.3.1', 'fc00:0:0:4::1']), [])
    })

    it('waits until it is known whether there are such, and for a change of the backend', () => {
      assert.match(judge(undefined)[0]?.text ?? '', /not known yet/)
      assert.match(judge([], { isChanging: true })[0]?.text ?? '', /a change of the backend is under way/)
    })
  })

  it('says nothing of lengths where Kubernetes assigns subnets', () => {
    const before = read(v4, 'assigned')
    assert.deepEqual(objections(read({ ...v4, SubnetLen: 25 }, 'assigned'), before, { own, leases, occupied: [] }), [])
    assert.equal(
      objections(read({ ...v4, Network: '10.6.0.0/16' }, 'assigned'), before, { own, leases, occupied: [] })[0]?.path,
      'Network',
    )
  })

  describe('found at a start', () => {
    const found = read({ ...v4, Network: '10.6.0.0/16' })
    const last = read({ ...v4, ...backend('host-gw') })
    const begun = async (more: Partial<Parameters<typeof beginWith>[1]> = {}, document = found) =>
      await beginWith(document, {
        last,
        leases: async () => ({ own, leases }),
        occupied: async () => ['10.5.3.1' as IpAddr],
        ...more,
      })

    it('waits where containers have addresses of the last one', async () => {
      const used = await begun()
      assert.deepEqual([used.network, used.backend.type, used.origin], [last.network, 'host-gw', found.origin])
    })

    it('is used where there is no container, no lease, or nothing is known', async () => {
      assert.equal(await begun({ occupied: async () => ['172.17.0.1' as IpAddr] }), found)
      assert.equal(await begun({ leases: async () => ({ own: undefined, leases }) }), found)
      assert.equal(await begun({ last: undefined }), found)
    })

    it('waits where containers have addresses and no family of theirs stays', async () => {
      const v6 = read({ EnableIPv4: false, EnableIPv6: true, IPv6Network: 'fc00::/48', Backend: { Type: 'vxlan' } })
      assert.deepEqual((await begun({}, v6)).network, last.network)
      assert.equal(await begun({ occupied: async () => [] }, v6), v6)
    })

    it('waits where containers have addresses of a family that is gone from it', async () => {
      const both = lease('10.5.3.0/24 fc00:0:0:3::/64')
      const without = read(v4)
      const start = async (address: string) =>
        await beginWith(without, {
          last: read(dual),
          leases: async () => ({ own: both, leases }),
          occupied: async () => [address as IpAddr],
        })
      assert.equal((await start('fc00:0:0:3::1')).network.families.size, 2)
      assert.equal(await start('10.5.3.1'), without)
    })

    it('is used at once, without waiting for leases, where the networks are the same', async () => {
      const leasesAreAway = { leases: () => new Promise<never>(() => {}) }
      const same = read({ ...v4, SubnetMin: '10.5.9.0' })
      assert.equal(await begun(leasesAreAway, same), same)
    })
  })
})

import assert from 'node:assert/strict'
import fc from 'fast-check'
import { bridgeOf, delegateOf, isOwnForm, parseConfig, renderConflist } from '../../../flanneld/cni/conflist.ts'
import { parseNetworkConfig } from '../../../subnet/network-config.ts'
import { lease, NO_DATA } from '../../backends/world.ts'

const dual = parseNetworkConfig(
  '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48","Backend":{"Type":"vxlan"}}',
  'test',
)
const own = lease('10.5.72.0/24 192.168.64.11 fc00:0:0:1::/64 fd00::11', { backend: 'vxlan', data: NO_DATA })
const facts = { network: dual, own, mtu: 1450, ipMasq: true }
const text = renderConflist('cbr0', facts)

describe('the conflist', () => {
  it('is this to the byte', () => {
    assert.equal(
      text,
      `{
  "cniVersion": "0.3.1",
  "name": "cbr0",
  "plugins": [
    {
      "type": "bridge",
      "mtu": 1450,
      "isGateway": true,
      "isDefaultGateway": true,
      "hairpinMode": true,
      "ipMasq": false,
      "ipam": {
        "type": "host-local",
        "ranges": [
          [
            {
              "subnet": "10.5.72.0/24"
            }
          ],
          [
            {
              "subnet": "fc00:0:0:1::/64"
            }
          ]
        ],
        "routes": [
          {
            "dst": "10.5.0.0/16"
          },
          {
            "dst": "fc00::/48"
          }
        ]
      }
    },
    {
      "type": "portmap",
      "capabilities": {
        "portMappings": true
      }
    }
  ]
}
`,
    )
  })

  it('tells bridge what flannel’s meta-plugin tells it for the same lease', () => {
    // Seen on the running plugin, with the cni-conf.json of flannel's manifest.
    const flannels =
      '{"cniVersion":"0.3.1","hairpinMode":true,"ipMasq":false,"ipam":{"ranges":[[{"subnet":"10.5.72.0/24"}],[{"subnet":"fc00:0:0:1::/64"}]],"routes":[{"dst":"10.5.0.0/16"},{"dst":"fc00::/48"}],"type":"host-local"},"isDefaultGateway":true,"isGateway":true,"mtu":1450,"name":"cbr0","type":"bridge"}'
    assert.deepEqual(JSON.parse(delegateOf(text)), JSON.parse(flannels))
  })

  it('leaves masquerading to the plugin where the daemon does none', () => {
    assert.equal(JSON.parse(renderConflist('cbr0', { ...facts, ipMasq: false })).plugins[0].ipMasq, true)
  })

  it('has the families of the lease only', () => {
    const network = parseNetworkConfig(
      '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00::/48","Backend":{"Type":"vxlan"}}',
      'test',
    )
    const { ipam } = JSON.parse(renderConflist('cbr0', { ...facts, network })).plugins[0]
    assert.deepEqual(ipam, {
      type: 'host-local',
      ranges: [[{ subnet: 'fc00:0:0:1::/64' }]],
      routes: [{ dst: 'fc00::/48' }],
    })
  })

  it('gives another network a bridge of its own, with a name that the kernel takes', () => {
    assert.equal(bridgeOf('cbr0'), 'cni0')
    const name = JSON.parse(renderConflist('blue', facts)).plugins[0].bridge
    assert.equal(name, bridgeOf('blue'))
    assert.match(name, /^cni-[0-9a-f]{8}$/)
    assert.notEqual(name, bridgeOf('red'))
  })

  it('is known again, and nobody else’s is', () => {
    assert.equal(isOwnForm(parseConfig(text), 'cbr0'), true)
    assert.equal(isOwnForm(parseConfig(text), 'blue'), false)
    const { plugins, ...rest } = JSON.parse(text)
    const chained = JSON.stringify({ ...rest, plugins: [...plugins, { type: 'istio-cni' }] })
    assert.equal(isOwnForm(parseConfig(chained), 'cbr0'), true)
    const before = JSON.stringify({ ...rest, plugins: [{ type: 'tuning' }, ...plugins] })
    assert.equal(isOwnForm(parseConfig(before), 'cbr0'), false)
    const flannels = '{"name":"cbr0","cniVersion":"0.3.1","plugins":[{"type":"flannel"},{"type":"portmap"}]}'
    assert.equal(isOwnForm(parseConfig(flannels), 'cbr0'), false)
    assert.equal(isOwnForm(parseConfig('{'), 'cbr0'), false)
  })
})

describe('a configuration of anybody', () => {
  it('is read as a list, and as a single plugin', () => {
    assert.deepEqual(
      parseConfig(
        '{"cniVersion":"0.2.0","name":"crio","type":"bridge","ipam":{"type":"host-local","subnet":"10.85.0.0/16"}}',
      ),
      {
        network: 'crio',
        plugins: ['bridge'],
        subnets: new Map([
          [4, ['10.85.0.0/16']],
          [6, []],
        ]),
      },
    )
    assert.deepEqual(parseConfig(text)?.subnets.get(6), ['fc00:0:0:1::/64'])
  })

  it('is none without a name or types, and never an error', () => {
    for (const bad of ['', '[]', 'null', '{"name":"x"}', '{"name":"x","plugins":[]}', '{"name":1,"type":"a"}']) {
      assert.equal(parseConfig(bad), undefined, bad)
    }
    assert.deepEqual(parseConfig('{"name":"x","type":"a","ipam":{"ranges":[[{"subnet":7},null]]}}')?.subnets.get(4), [])
    fc.assert(
      fc.property(fc.json(), (json) => {
        parseConfig(json)
      }),
    )
  })
})

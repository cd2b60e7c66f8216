import assert from 'node:assert/strict'
import { layOut } from '../../lab/layout.ts'
import { nicLines } from '../../lab/nic-lines.ts'
import { UsageError } from '../../lib/errors.ts'

describe('layout', () => {
  it('numbers the hosts of a segment from .11 and gives the router the first address', () => {
    const layout = layOut('abc123', [{ name: 'lan1', subnet: '192.168.64.0/24', hosts: ['h1', 'h2'] }], 1500)
    assert.deepEqual(
      layout.hosts.map((host) => [host.namespace, host.nics[0]?.addresses]),
      [
        ['lab-abc123-h1', ['192.168.64.11/24']],
        ['lab-abc123-h2', ['192.168.64.12/24']],
      ],
    )
    assert.deepEqual(layout.segments[0]?.gateways, ['192.168.64.1/24'])
  })

  it('gives a host in two segments two interfaces and one default route', () => {
    const segments = ['192.168.64.0/24', '192.168.65.0/24'].map((subnet, index) => ({
      name: `lan${index}`,
      subnet,
      hosts: ['h1'],
    }))
    const [host] = layOut('abc123', segments, 1500).hosts
    assert.deepEqual(host?.nics.map(nicLines), [
      ['addr replace 192.168.64.11/24 dev eth0', 'route replace default via 192.168.64.1 dev eth0'],
      ['addr replace 192.168.65.11/24 dev eth1'],
    ])
  })

  it('leaves a host without default route the way to the control plane', () => {
    const segment = { name: 'lan1', subnet: '192.168.64.0/24', hosts: ['h1'], defaultRoute: false }
    const [host] = layOut('abc123', [segment], 1500).hosts
    assert.deepEqual(host?.nics.flatMap(nicLines), [
      'addr replace 192.168.64.11/24 dev eth0',
      'route replace 192.0.2.0/24 via 192.168.64.1 dev eth0',
    ])
  })

  const bad = {
    'a host name that is too long for a device': { name: 'a', subnet: '192.168.64.0/24', hosts: ['averylongname'] },
    'a host name of its own': { name: 'a', subnet: '192.168.64.0/24', hosts: ['router'] },
    'a subnet that is none': { name: 'a', subnet: '192.168.64.0', hosts: ['h1'] },
    'more hosts than addresses': { name: 'a', subnet: '192.168.64.0/28', hosts: ['a', 'b', 'c', 'd', 'e'] },
  }
  for (const [what, segment] of Object.entries(bad)) {
    it(`refuses ${what}`, () => {
      assert.throws(() => layOut('abc123', [segment], 1500), UsageError)
    })
  }
})

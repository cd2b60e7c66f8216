import assert from 'node:assert/strict'
import { parseSubnetEnv } from '../../lab/subnet-env.ts'

describe('subnet.env', () => {
  it('reads both families', () => {
    const text = [
      'FLANNEL_NETWORK=10.5.0.0/16',
      'FLANNEL_SUBNET=10.5.72.1/24',
      'FLANNEL_IPV6_NETWORK=fc00::/48',
      'FLANNEL_IPV6_SUBNET=fc00:0:0:1::1/64',
      'FLANNEL_MTU=1450',
      'FLANNEL_IPMASQ=true',
      '',
    ].join('\n')
    assert.deepEqual(parseSubnetEnv(text), {
      families: [
        { network: '10.5.0.0/16', subnet: '10.5.72.0/24', gateway: '10.5.72.1/24' },
        { network: 'fc00::/48', subnet: 'fc00:0:0:1::/64', gateway: 'fc00:0:0:1::1/64' },
      ],
      mtu: 1450,
      ipMasq: true,
      text,
    })
  })

  it('names the key that is missing', () => {
    assert.throws(() => parseSubnetEnv('FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\n'), /FLANNEL_MTU/)
  })
})

import assert from 'node:assert/strict'
import { dockerDisagreements } from '../../../flanneld/check/docker-agreement.ts'
import { readFlags } from '../../../flanneld/check/docker-options.ts'
import { parseSubnetFile } from '../../../flanneld/state/subnet-file.ts'

const V4 = 'FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\n'
const V6 = 'FLANNEL_IPV6_NETWORK=fd00:5::/48\nFLANNEL_IPV6_SUBNET=fd00:5:0:1::1/64\n'
const REST = 'FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n'
const GIVEN = '--bip=10.5.72.1/24 --ip-masq=false --mtu=1450'

interface Case {
  readonly words: string
  /** `DEVICE ADDRESS/LENGTH`. */
  readonly addresses?: readonly string[]
  readonly env?: string
  readonly hasCni?: true
}

function found({ words, addresses = [], env = V4 + REST, hasCni }: Case): readonly string[] {
  const known = parseSubnetFile(env)
  assert.ok(known.ok)
  const leased = {
    file: known.file,
    subnetPath: '/run/flannel/subnet.env',
    hasCni: hasCni === true,
    addresses: new Map(addresses.map((line) => line.split(' ')).map(([name = '', ...cidrs]) => [name, cidrs])),
  }
  return dockerDisagreements({ flags: readFlags(words.split(' ')), file: new Map() }, leased).map(
    ({ code, severity, text }) => `${severity} ${code}: ${text}`,
  )
}

describe('a Docker that runs, against subnet.env', () => {
  const cases: readonly (readonly [what: string, given: Case, expected: RegExp | undefined])[] = [
    ['agrees before a container runs', { words: GIVEN }, undefined],
    ['agrees beside containers', { words: GIVEN, addresses: ['docker0 10.5.72.1/24 fe80::1/64'] }, undefined],
    [
      'has kept the old subnet by live-restore',
      { words: GIVEN, addresses: ['docker0 10.5.9.1/24'] },
      /^warning docker-subnet: Docker was given the leased subnet 10\.5\.72\.0\/24, and its bridge docker0 has 10\.5\.9\.0\/24: with live-restore/,
    ],
    [
      'was started before the lease changed',
      { words: GIVEN.replace('.72.', '.9.'), addresses: ['docker0 10.5.9.1/24'] },
      /^warning docker-subnet: Docker's bip is 10\.5\.9\.1\/24, and the leased subnet is 10\.5\.72\.0\/24/,
    ],
    ['took 172.17', { words: '-H fd://', addresses: ['docker0 172.17.0.1/16'] }, /^warning docker-subnet: .*no bip/],
    ['took 172.17 beside CNI', { words: '-H fd://', addresses: ['docker0 172.17.0.1/16'], hasCni: true }, undefined],
    ['has no bridge', { words: '--bridge=none' }, undefined],
    ['has a larger MTU', { words: GIVEN.replace('1450', '1472') }, /^warning docker-mtu: Docker's mtu is 1472/],
    ['has a smaller MTU', { words: GIVEN.replace('1450', '1400') }, undefined],
    ['masquerades, too', { words: '--bip=10.5.72.1/24 --mtu=1450' }, /^warning docker-masquerade: both/],
    [
      'is not masqueraded by anybody',
      { words: GIVEN, env: V4 + REST.replace('true', 'false') },
      /^info docker-masquerade: neither/,
    ],
    [
      'masquerades alone',
      { words: GIVEN.replace('--ip-masq=false', '--ip-masq=true'), env: V4 + REST.replace('true', 'false') },
      undefined,
    ],
    [
      'has a bridge of the operator with the subnet',
      { words: '-b cbr0 --mtu=1450 --ip-masq=false', addresses: ['cbr0 10.5.72.1/24'] },
      undefined,
    ],
    [
      'has a bridge of the operator with another subnet',
      { words: '--bridge cbr0', addresses: ['cbr0 10.5.73.1/24'] },
      /^warning docker-subnet: Docker's bridge cbr0 has 10\.5\.73\.0\/24/,
    ],
    [
      'has the IPv6 range of the day before',
      { words: `${GIVEN} --ipv6 --fixed-cidr-v6=fd00:5:0:2::/64`, env: V4 + V6 + REST },
      /^warning docker-subnet-ipv6: Docker's fixed-cidr-v6 is fd00:5:0:2::\/64/,
    ],
    [
      'has the IPv6 range as the script writes it',
      { words: `${GIVEN} --ipv6 --fixed-cidr-v6=fd00:5:0:1::1/64`, env: V4 + V6 + REST },
      undefined,
    ],
  ]
  for (const [what, given, expected] of cases)
    it(`that ${what} ${expected === undefined ? 'is in order' : 'is named'}`, () => {
      const lines = found(given)
      if (expected === undefined) assert.deepEqual(lines, [])
      else {
        assert.equal(lines.length, 1, lines.join('\n'))
        assert.match(lines[0] ?? '', expected)
      }
    })
})

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import {
  formatSubnetFile,
  parseSubnetFile,
  renderSubnetFile,
  type SubnetFile,
} from '../../flanneld/state/subnet-file.ts'
import { type Cidr, cidrOf, type Family, type IpAddr, ipFromNumber } from '../../lib/address.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import type { Lease } from '../../subnet/types.ts'

const dualStack = `FLANNEL_NETWORK=10.5.0.0/16
FLANNEL_SUBNET=10.5.72.1/24
FLANNEL_IPV6_NETWORK=fc00::/48
FLANNEL_IPV6_SUBNET=fc00:0:0:1::1/64
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
`

describe('subnet.env', () => {
  it('is written as the contract shows it', () => {
    const network = {
      families: new Map([
        [4, { network: '10.5.0.0/16' }],
        [6, { network: 'fc00::/48' }],
      ]),
    } as unknown as NetworkConfig
    const own = {
      families: new Map([
        [4, { subnet: '10.5.72.0/24' }],
        [6, { subnet: 'fc00:0:0:1::/64' }],
      ]),
    } as unknown as Lease
    assert.equal(renderSubnetFile({ network, own, mtu: 1450, ipMasq: true }), dualStack)
  })

  it('leaves out the lines of a disabled family', () => {
    const file = read(dualStack)
    const onlyV6 = {
      ...file,
      networks: onlyFamily(file.networks, 6),
      subnets: onlyFamily(file.subnets, 6),
      ipMasq: false,
    }
    assert.equal(
      formatSubnetFile(onlyV6),
      'FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00:0:0:1::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n',
    )
  })

  it('is read back as it was written', () => {
    fc.assert(
      fc.property(anySubnetFile, (file) => {
        assert.deepEqual(read(formatSubnetFile(file)), file)
      }),
    )
  })

  it("is believed with Docker's options in it, however long they are", () => {
    const options = `DOCKER_OPT_MTU="--mtu=1450"\nDOCKER_OPTS="${'--label=a '.repeat(500)} --mtu=1450"\n`
    assert.deepEqual(read(dualStack + options), read(dualStack))
  })

  it('reading never throws, whatever the text', () => {
    const edited = fc
      .tuple(fc.nat(dualStack.length), fc.nat(8), fc.string({ unit: 'binary' }))
      .map(([at, gone, text]) => dualStack.slice(0, at) + text + dualStack.slice(at + gone))
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), edited), (text) => {
        const parsed = parseSubnetFile(text)
        if (parsed.ok) assert.equal(read(formatSubnetFile(parsed.file)).mtu, parsed.file.mtu)
      }),
    )
  })

  it('does nothing but set FLANNEL_* in a shell', () => {
    const folder = mkdtempSync(join(tmpdir(), 'subnet-file-'))
    try {
      const path = join(folder, 'subnet.env')
      for (const file of fc.sample(anySubnetFile, 10)) {
        writeFileSync(path, formatSubnetFile(file))
        const before = execFileSync('sh', ['-c', 'set'], { env: {} }).toString()
        const after = execFileSync('sh', ['-c', '. "$1"; set', 'sh', path], { env: {} }).toString()
        const known = new Set(before.split('\n').map((line) => line.split('=')[0]))
        const set = after.split('\n').filter((line) => !known.has(line.split('=')[0]) && line !== '')
        assert.ok(
          set.every((line) => line.startsWith('FLANNEL_')),
          set.join('\n'),
        )
        assert.equal(set.length, file.networks.size * 2 + 2)
      }
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  const distrusted: Record<string, string> = {
    'nothing at all': '',
    'shell text': dualStack.replace('10.5.72.1/24', '$(reboot)'),
    'a second command': dualStack.replace('true', 'true;reboot'),
    'an unknown key': `${dualStack}PATH=/tmp\n`,
    'a doubled key': `${dualStack}FLANNEL_MTU=1450\n`,
    'another host address': dualStack.replace('72.1/', '72.2/'),
    'the network form of the subnet': dualStack.replace('72.1/', '72.0/'),
    'a subnet outside the network': dualStack.replace('10.5.72.1', '10.6.72.1'),
    'a leading zero': dualStack.replace('10.5.72.1', '10.05.72.1'),
    'a network with host bits': dualStack.replace('10.5.0.0/16', '10.5.0.1/16'),
    'an address of the other family': dualStack.replace('10.5.0.0/16', 'fc00::/16'),
    'a missing network': dualStack.replace('FLANNEL_NETWORK=10.5.0.0/16\n', ''),
    'a missing MTU': dualStack.replace('FLANNEL_MTU=1450\n', ''),
    'an MTU of zero': dualStack.replace('1450', '0'),
    'an MTU that no device has': dualStack.replace('1450', '99999'),
    'a word that is no boolean': dualStack.replace('true', 'yes'),
    'carriage returns': dualStack.replaceAll('\n', '\r\n'),
    "a command among Docker's options": `${dualStack}DOCKER_OPTS="$(reboot)"\n`,
    'an option with an open end': `${dualStack}DOCKER_OPTS="--mtu=1450\n`,
    quotes: dualStack.replace('1450', '"1450"'),
    'a huge file': dualStack + '\n'.repeat(5000),
  }
  for (const [name, text] of Object.entries(distrusted)) {
    it(`is not believed with ${name}`, () => {
      assert.equal(parseSubnetFile(text).ok, false)
    })
  }
})

function read(text: string): SubnetFile {
  const parsed = parseSubnetFile(text)
  if (!parsed.ok) throw new Error(parsed.reason)
  return parsed.file
}

function onlyFamily(map: ReadonlyMap<Family, Cidr>, family: Family): ReadonlyMap<Family, Cidr> {
  return new Map([...map].filter(([each]) => each === family))
}

const anyNested = (family: Family, bits: number, mostOuter: number) =>
  fc
    .tuple(
      fc.bigInt(1n, 2n ** BigInt(bits) - 1n),
      fc.integer({ min: 1, max: mostOuter }),
      fc.integer({ min: 0, max: 8 }),
    )
    .map(([number, outer, more]) => {
      const address: IpAddr = ipFromNumber(family, number)
      return { family, network: cidrOf(address, outer), subnet: cidrOf(address, outer + more) }
    })
const anyV4 = anyNested(4, 32, 22)
const anyV6 = anyNested(6, 128, 118)
const anySubnetFile: fc.Arbitrary<SubnetFile> = fc
  .record({
    parts: fc.oneof(fc.tuple(anyV4), fc.tuple(anyV6), fc.tuple(anyV4, anyV6)),
    mtu: fc.integer({ min: 68, max: 65_535 }),
    ipMasq: fc.boolean(),
  })
  .map(({ parts, mtu, ipMasq }) => ({
    networks: new Map(parts.map(({ family, network }) => [family, network] as const)),
    subnets: new Map(parts.map(({ family, subnet }) => [family, subnet] as const)),
    mtu,
    ipMasq,
  }))

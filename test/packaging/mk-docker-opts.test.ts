import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { splitDockerOptions } from '../../kernel/kinds/file/docker-options.ts'

const script = join(import.meta.dirname, '../../packaging/docker/mk-docker-opts.sh')

const usual = `FLANNEL_NETWORK=10.5.0.0/16
FLANNEL_SUBNET=10.5.72.1/24
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
`
const single = `DOCKER_OPT_BIP="--bip=10.5.72.1/24"
DOCKER_OPT_IPMASQ="--ip-masq=false"
DOCKER_OPT_MTU="--mtu=1450"
`
const combined = 'DOCKER_OPTS=" --bip=10.5.72.1/24 --ip-masq=false --mtu=1450"\n'

describe('mk-docker-opts', () => {
  const world = mkdtempSync(join(tmpdir(), 'mk-docker-opts-'))
  const flannelEnv = join(world, 'subnet.env')
  const dockerEnv = join(world, 'docker.env')
  beforeEach(() => {
    rmSync(dockerEnv, { force: true })
    writeFileSync(flannelEnv, usual)
    fakeIp('')
  })
  after(() => rmSync(world, { recursive: true }))

  /** The route table that the script sees. */
  function fakeIp(routes: string): void {
    writeFileSync(join(world, 'ip'), `#!/bin/sh\n[ "$*" = "route show 10.5.72.0/24" ] && echo "${routes}"\nexit 0\n`)
    chmodSync(join(world, 'ip'), 0o755)
  }

  function run(args: readonly string[] = [], env: Record<string, string> = {}) {
    return spawnSync('sh', [script, '-f', flannelEnv, '-d', dockerEnv, ...args], {
      env: { PATH: `${world}:${process.env['PATH']}`, ...env },
      encoding: 'utf8',
    })
  }

  function written(args?: readonly string[], env?: Record<string, string>): string {
    const { status, stderr } = run(args, env)
    assert.equal(status, 0, stderr)
    return readFileSync(dockerEnv, 'utf8')
  }

  const cases: readonly [string, readonly string[], string][] = [
    ['both forms without a flag', [], single + combined],
    ['both forms with both flags', ['-i', '-c'], single + combined],
    ['single options', ['-i'], single],
    ['the combined one', ['-c'], combined],
    [
      'another name of it',
      ['-c', '-k', 'DOCKER_NETWORK_OPTIONS'],
      combined.replace('DOCKER_OPTS', 'DOCKER_NETWORK_OPTIONS'),
    ],
    ['no masquerade', ['-c', '-m'], 'DOCKER_OPTS=" --bip=10.5.72.1/24 --mtu=1450"\n'],
  ]
  for (const [what, args, text] of cases) it(`writes ${what}`, () => assert.equal(written(args), text))

  it('leaves masquerading to Docker where flanneld does not', () => {
    writeFileSync(flannelEnv, usual.replace('true', 'false'))
    assert.match(written(['-i']), /^DOCKER_OPT_IPMASQ="--ip-masq=true"$/m)
  })

  it('leaves out the line of a value that is not there', () => {
    writeFileSync(flannelEnv, 'FLANNEL_SUBNET=10.5.72.1/24\n')
    assert.equal(written(), 'DOCKER_OPT_BIP="--bip=10.5.72.1/24"\nDOCKER_OPTS=" --bip=10.5.72.1/24"\n')
  })

  it('adds IPv6 when asked', () => {
    writeFileSync(flannelEnv, `${usual}FLANNEL_IPV6_SUBNET=fc00:0:0:1::1/64\n`)
    assert.ok(!written().includes('fc00'))
    assert.match(written(['-6']), /^DOCKER_OPT_IPV6="--ipv6 --fixed-cidr-v6=fc00:0:0:1::1\/64"$/m)
  })

  it('puts inherited options in front, and others of the same form in their order', () => {
    const text = written([], { DOCKER_OPTS: '--debug', DOCKER_OPT_LOG: '--log-level=warn' })
    assert.match(text, /^DOCKER_OPT_IPMASQ=.*\nDOCKER_OPT_LOG="--log-level=warn"\nDOCKER_OPT_MTU=/m)
    assert.match(text, /^DOCKER_OPTS="--debug {2}--bip=10.5.72.1\/24 --ip-masq=false --log-level=warn --mtu=1450"$/m)
  })

  it('writes inherited quotes so that a shell reads them back and runs nothing', () => {
    const inherited = `--label "a b" --x=$HOME --y=\`id\` --z=\\`
    written(['-c'], { DOCKER_OPTS: inherited })
    const { stdout } = spawnSync('sh', ['-c', `. ${dockerEnv}; printf %s "$DOCKER_OPTS"`], { encoding: 'utf8' })
    assert.equal(stdout, `${inherited}  --bip=10.5.72.1/24 --ip-masq=false --mtu=1450`)
  })

  it('behind the lines of subnet.env itself, once however often it runs', () => {
    const both = ['-d', flannelEnv]
    for (let times = 0; times < 3; times += 1) assert.equal(run(both).status, 0)
    assert.equal(readFileSync(flannelEnv, 'utf8'), usual + single + combined)
  })

  it('in subnet.env itself only under a name that flanneld keeps there', () => {
    const { status, stderr } = run(['-d', flannelEnv, '-k', 'OPTIONS'])
    assert.equal(status, 1)
    assert.match(stderr, /flanneld keeps only variables named DOCKER_\.\.\., not 'OPTIONS'/)
    assert.equal(readFileSync(flannelEnv, 'utf8'), usual)
    assert.equal(run(['-d', flannelEnv, '-k', 'DOCKER_NETWORK_OPTIONS', '-c']).status, 0)
    const { options, rest } = splitDockerOptions(readFileSync(flannelEnv, 'utf8'))
    assert.deepEqual([rest, options], [usual, combined.replace('DOCKER_OPTS', 'DOCKER_NETWORK_OPTIONS')])
  })

  it('writes what flanneld keeps, whatever was inherited', () => {
    const inherited = { DOCKER_OPTS: `--label "a b" --x=$HOME --y=\`id\` --z=\\`, DOCKER_OPT_LOG: '--log-level=warn' }
    assert.equal(run(['-d', flannelEnv], inherited).status, 0)
    const text = readFileSync(flannelEnv, 'utf8')
    assert.equal(splitDockerOptions(text).rest, usual)
    assert.match(text, /^DOCKER_OPT_LOG=/m)
  })

  it('leaves a file alone that says the same', () => {
    written()
    const before = statSync(dockerEnv)
    written()
    assert.equal(statSync(dockerEnv).ino, before.ino)
  })

  it('replaces the file with one that all may read, and leaves nothing beside it', () => {
    written()
    assert.equal(statSync(dockerEnv).mode & 0o777, 0o644)
    assert.deepEqual(readdirSync(world).sort(), ['docker.env', 'ip', 'subnet.env'])
  })

  it('fails after writing where a route leads the own subnet elsewhere', () => {
    fakeIp('10.5.72.0/24 via 10.0.0.9 dev eth0')
    const { status, stderr } = run()
    assert.equal(status, 1)
    assert.match(stderr, /10\.5\.72\.0\/24 via 10\.0\.0\.9/)
    assert.ok(existsSync(dockerEnv))
  })

  const refused: readonly [string, string, RegExp][] = [
    ['an empty file', '', /is empty/],
    ['half a file', 'FLANNEL_SUBNET=10.5.7', /half written/],
    ['no subnet', 'FLANNEL_MTU=1450\n', /FLANNEL_SUBNET is missing/],
    ['a command', 'FLANNEL_SUBNET=$(touch pwned)\n', /must be an IPv4 subnet/],
    ['an option too many', 'FLANNEL_SUBNET=10.5.72.1/24 --insecure-registry=x\n', /must be an IPv4 subnet/],
    ['an address out of range', 'FLANNEL_SUBNET=10.5.720.1/24\n', /must be an IPv4 subnet/],
    ['a fifth number', 'FLANNEL_SUBNET=10.5.72.1.1/24\n', /must be an IPv4 subnet/],
    ['an MTU of words', `${usual}FLANNEL_MTU=big\n`, /must be a number from 68 to 65535, not 'big'/],
    ['line ends of Windows', usual.replaceAll('\n', '\r\n'), /has line ends of Windows/],
    ['neither true nor false', `${usual}FLANNEL_IPMASQ=yes\n`, /must be true or false, not 'yes'/],
  ]
  for (const [what, content, why] of refused) {
    it(`refuses ${what} and keeps the old options`, () => {
      writeFileSync(dockerEnv, 'DOCKER_OPTS="old"\n')
      writeFileSync(flannelEnv, content)
      const { status, stderr } = run()
      assert.equal(status, 1)
      assert.match(stderr, why)
      assert.equal(readFileSync(dockerEnv, 'utf8'), 'DOCKER_OPTS="old"\n')
    })
  }

  it('refuses a missing file, a bad name, an unknown flag', () => {
    assert.match(run(['-k', 'A B']).stderr, /is no name for a variable/)
    assert.match(run(['-z']).stderr, /-f FLANNEL-ENV-FILE/)
    rmSync(flannelEnv)
    const { status, stderr } = run()
    assert.equal(status, 1)
    assert.match(stderr, /is not there: flanneld has not leased a subnet yet/)
    assert.ok(!existsSync(dockerEnv))
  })
})

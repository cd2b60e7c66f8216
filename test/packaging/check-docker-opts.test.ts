import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const script = join(import.meta.dirname, '../../packaging/docker/check-docker-opts.sh')
const maker = join(import.meta.dirname, '../../packaging/docker/mk-docker-opts.sh')

describe('check-docker-opts', () => {
  const world = mkdtempSync(join(tmpdir(), 'check-docker-opts-'))
  const flannelEnv = join(world, 'subnet.env')
  const dockerEnv = join(world, 'docker.env')
  const env = { PATH: `${world}:${process.env['PATH']}` }
  const files = ['-f', flannelEnv, '-d', dockerEnv]
  const make = () => spawnSync('sh', [maker, ...files], { env })

  beforeEach(() => {
    writeFileSync(
      flannelEnv,
      'FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n',
    )
    fakeSystemctl('dockerd -H fd:// $DOCKER_OPTS')
    make()
  })
  after(() => rmSync(world, { recursive: true }))

  function fakeSystemctl(command: string): void {
    const answers = `case $* in
  *ActiveState*) echo activating ;;
  *StatusText*) echo 'not ready: etcd does not answer' ;;
  *ExecStart*) echo '{ path=/usr/sbin/dockerd ; argv[]=${command} ; ignore_errors=no }' ;;
esac`
    writeFileSync(join(world, 'systemctl'), `#!/bin/sh\n${answers}\n`)
    chmodSync(join(world, 'systemctl'), 0o755)
  }

  function run(...args: readonly string[]) {
    return spawnSync('sh', [script, ...files, ...args], { env, encoding: 'utf8' })
  }

  it('lets Docker start with what mk-docker-opts has written', () => {
    const { status, stderr } = run()
    assert.deepEqual([status, stderr], [0, ''])
  })

  it('takes another name of the options', () => {
    fakeSystemctl('dockerd $DOCKER_NETWORK_OPTIONS')
    spawnSync('sh', [maker, ...files, '-c', '-k', 'DOCKER_NETWORK_OPTIONS'], { env })
    assert.equal(run('-k', 'DOCKER_NETWORK_OPTIONS').status, 0)
    assert.match(run().stderr, /has no line DOCKER_OPTS="\.\.\."/)
  })

  const refused: readonly [string, () => void, RegExp][] = [
    [
      'no subnet.env, with what flanneld says',
      () => rmSync(flannelEnv),
      /subnet\.env is not there, flanneld has no subnet yet \(it is activating: not ready: etcd does not answer\)/,
    ],
    ['an empty subnet.env', () => writeFileSync(flannelEnv, ''), /flanneld has no subnet yet/],
    ['no options', () => rmSync(dockerEnv), /docker\.env is not there; see: systemctl status flanneld-docker-options/],
    ['half an options file', () => writeFileSync(dockerEnv, 'DOCKER_OPTS=" --bip=10.5'), /has no line DOCKER_OPTS/],
    ['empty options', () => writeFileSync(dockerEnv, 'DOCKER_OPTS=""\n'), /has no line DOCKER_OPTS/],
    [
      'options of another subnet',
      () => writeFileSync(flannelEnv, 'FLANNEL_SUBNET=10.5.73.1/24\n'),
      /lack --bip=10\.5\.73\.1\/24, which .* says; run: systemctl start flanneld-docker-options/,
    ],
    [
      'options of another MTU',
      () => writeFileSync(flannelEnv, 'FLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=1400\n'),
      /lack --mtu=1400/,
    ],
    [
      'a Docker that is started without them',
      () => fakeSystemctl('dockerd -H fd://'),
      /its unit does not pass \$DOCKER_OPTS to dockerd/,
    ],
  ]
  for (const [what, change, why] of refused) {
    it(`refuses ${what}`, () => {
      change()
      const { status, stderr } = run()
      assert.equal(status, 1)
      assert.match(stderr, /^Docker is not started: /)
      assert.match(stderr, why)
    })
  }
})

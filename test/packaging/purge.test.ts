import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')
/** That the maintainer scripts name. */
const PATHS = /\/(?:etc\/(?:default|systemd)|var\/lib|usr\/lib\/flanneld|run)\b/g

describe("the Debian package's prerm and postrm", () => {
  let world: string

  beforeEach(() => {
    world = mkdtempSync(join(tmpdir(), 'purge-'))
    for (const folder of ['etc/default', 'var/lib', 'usr/lib/flanneld', 'run/flannel'])
      mkdirSync(join(world, folder), { recursive: true })
    write('usr/lib/flanneld/flanneld', `#!/bin/sh\n{ echo "$@"; env | grep ^FLANNELD_ | sort; } >${world}/ran\n`, 0o755)
  })
  afterEach(() => rmSync(world, { recursive: true }))

  const write = (path: string, text: string, mode = 0o644) => writeFileSync(join(world, path), text, { mode })
  const script = (name: string, word: string) => {
    const text = readFileSync(join(root, 'packaging/debian', name), 'utf8').replace(PATHS, (path) => world + path)
    // Whoever runs the tests may have variables of the daemon.
    const env = { PATH: process.env['PATH'] }
    const { status, stderr } = spawnSync('sh', ['-c', text, name, word], { encoding: 'utf8', env })
    assert.deepEqual([status, stderr], [0, ''])
  }
  const purge = (defaults: string) => {
    write('etc/default/flanneld', defaults)
    script('prerm', 'remove')
    script('postrm', 'purge')
    return readFileSync(join(world, 'ran'), 'utf8').replaceAll(world, '').trim().split('\n')
  }

  const cases: readonly (readonly [what: string, defaults: string, variables: readonly string[]])[] = [
    ['nothing', '#FLANNEL_OPTIONS="--state-dir=/x"\n', []],
    ['variables', 'FLANNELD_ETCD_PREFIX="/a"\nFLANNELD_IFACE=eth0\n', ['FLANNELD_ETCD_PREFIX=/a']],
    [
      'flags',
      'FLANNEL_OPTIONS="--iface=eth0 -etcd-prefix /b --subnet-file=/c/d.env --ip-masq --status-socket="\n',
      ['FLANNELD_ETCD_PREFIX=/b', 'FLANNELD_STATUS_SOCKET=', 'FLANNELD_SUBNET_FILE=/c/d.env'],
    ],
    [
      'flags before variables',
      'FLANNEL_OPTIONS=-etcd-prefix=/b\nFLANNELD_ETCD_PREFIX=/a\n',
      ['FLANNELD_ETCD_PREFIX=/b'],
    ],
    [
      'the last of each, in quotes',
      `FLANNEL_OPTIONS=--etcd-prefix=/a\nFLANNEL_OPTIONS='--etcd-prefix=/b --etcd-prefix="/c d"'\n`,
      ['FLANNELD_ETCD_PREFIX=/c d'],
    ],
    [
      'flags that cannot be read',
      `FLANNEL_OPTIONS="--etcd-prefix='/a"\nFLANNELD_ETCD_PREFIX=/b\n`,
      ['FLANNELD_ETCD_PREFIX=/b'],
    ],
  ]
  for (const [what, defaults, variables] of cases) {
    it(`clean up with ${what}`, () => assert.deepEqual(purge(defaults), ['cleanup', ...variables]))
  }

  it("remove each of the daemon's files, and none of others", () => {
    const sources = readdirSync(join(root, 'flanneld'), { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.ts'),
    )
    const names = sources.flatMap(
      (name) => readFileSync(join(root, 'flanneld', name), 'utf8').match(/(?<=')[\w-]+\.json(?=')/g) ?? [],
    )
    assert.ok(names.includes('snapshot.json'))
    const shared = 'srv/shared'
    const instance = `${shared}/0123abcd`
    mkdirSync(join(world, instance), { recursive: true })
    for (const folder of [shared, instance])
      for (const name of ['node-id', ...names, `.${names[0]}.new`]) write(`${folder}/${name}`, '')
    write(`${shared}/others.json`, '')
    purge(`FLANNEL_OPTIONS="--state-dir ${world}/${shared}"\n`)
    assert.deepEqual(readdirSync(join(world, shared)), ['others.json'])
  })

  it('leave nothing where nothing is shared', () => {
    mkdirSync(join(world, 'var/lib/flannel'))
    write('var/lib/flannel/node-id', '')
    purge('')
    assert.deepEqual(readdirSync(join(world, 'var/lib')), [])
    assert.equal(existsSync(join(world, 'run/flannel')), false)
  })
})

import assert from 'node:assert/strict'
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { environmentFile } from '../../scripts/package/environment-file.ts'
import { needs } from '../needs.ts'

const root = join(import.meta.dirname, '../..')
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const units = ['flanneld.service', 'flanneld-docker-options.service', 'flanneld-docker-options.path']

describe('the packages', function () {
  needs(this, 'packaging')
  this.timeout(120_000)
  const world = mkdtempSync(join(tmpdir(), 'flanneld-package-'))
  const host = join(world, 'host')
  let debian = ''
  let archive = ''

  before(() => {
    ;[debian = '', archive = ''] = make(join(world, 'one'))
    run('dpkg-deb', '-x', debian, host)
  })
  after(() => rmSync(world, { recursive: true }))

  function make(folder: string): readonly string[] {
    const { stdout } = run(process.execPath, '--import', 'tsx', 'scripts/package.ts', folder)
    return stdout.trim().split('\n')
  }

  it('are the same bytes when made again', () => {
    assert.deepEqual(make(join(world, 'two')).map(digest), [debian, archive].map(digest))
  })

  it('hold a daemon that runs, with nothing of this machine in them', () => {
    assert.equal(run(join(host, 'usr/sbin/flanneld'), 'version').stdout, `${version}\n`)
    for (const file of filesBelow(host)) assert.ok(!readFileSync(join(host, file)).includes(root), file)
  })

  it('belong to root, and only the options are not for all to read', () => {
    for (const line of run('dpkg-deb', '-c', debian).stdout.trim().split('\n')) {
      const expected = line.includes('./etc/default/flanneld')
        ? /^-rw------- root\/root /
        : /^[-dl]rw.r.[x-]r.[x-] root\/root /
      assert.match(line, expected)
    }
  })

  it('leave the options of the host alone: a conffile in the one, no file in the other', () => {
    assert.equal(readFileSync(join(host, 'etc/default/flanneld'), 'utf8'), environmentFile())
    assert.equal(run('dpkg-deb', '-I', debian, 'conffiles').stdout, '/etc/default/flanneld\n')
    const packed = run('tar', '-tf', archive).stdout.trim().split('\n')
    assert.ok(packed.every((path) => /^usr\/.*[^/]$/.test(path)))
    const inDebian = filesBelow(host).filter((path) => !path.startsWith('etc/'))
    const inArchive = packed.filter((path) => !path.includes('etc-default-flanneld'))
    assert.deepEqual(inArchive.sort(), inDebian.sort())
  })

  it('can be unpacked where a folder is a link', () => {
    const other = join(world, 'other')
    mkdirSync(join(other, 'usr/bin'), { recursive: true })
    symlinkSync('bin', join(other, 'usr/sbin'))
    run('tar', '-C', other, '-xf', archive)
    assert.equal(run(join(other, 'usr/bin/flanneld'), 'version').stdout, `${version}\n`)
  })

  it('have completions where shells look for them', () => {
    const files = run('dpkg-deb', '-c', debian).stdout
    for (const path of [
      'bash-completion/completions/flanneld',
      'zsh/vendor-completions/_flanneld',
      'fish/vendor_completions.d/flanneld.fish',
    ])
      assert.match(files, new RegExp(`-rw-r--r-- root/root +[1-9]\\d* .* \\./usr/share/${path}$`, 'm'))
  })

  it('have a manual page that groff has nothing to say about', () => {
    const { stdout, stderr } = run(
      'man',
      '-l',
      '--warnings',
      '-E',
      'UTF-8',
      join(host, 'usr/share/man/man8/flanneld.8.gz'),
    )
    assert.equal(stderr, '')
    assert.match(stdout, /--etcd-prefix KEY/)
  })

  it('have scripts that a POSIX shell understands', () => {
    for (const name of ['preinst', 'postinst', 'prerm', 'postrm'])
      assert.equal(ran('sh', ['-n'], run('dpkg-deb', '-I', debian, name).stdout).status, 0, name)
  })

  describe('its units', () => {
    before(() => {
      // What the units name and no host is without.
      for (const program of ['bin/sh', 'bin/kill', 'usr/sbin/dockerd']) {
        mkdirSync(join(host, program, '..'), { recursive: true })
        writeFileSync(join(host, program), '#!\n')
        chmodSync(join(host, program), 0o755)
      }
      const folder = join(host, 'usr/lib/systemd/system')
      for (const target of ['sysinit', 'basic', 'shutdown', 'paths', 'multi-user', 'network-online'])
        writeFileSync(join(folder, `${target}.target`), '[Unit]\nDescription=there\n')
      writeFileSync(
        join(folder, 'docker.service'),
        '[Service]\nType=notify\nExecStart=/usr/sbin/dockerd $DOCKER_OPTS\n',
      )
      mkdirSync(join(host, 'etc/systemd/system/docker.service.d'), { recursive: true })
      symlinkSync(
        '/usr/lib/flanneld/docker.service.conf',
        join(host, 'etc/systemd/system/docker.service.d/flanneld.conf'),
      )
    })

    for (const unit of [...units, 'docker.service']) {
      it(`${unit} is understood`, () => {
        const { status, stdout, stderr } = ran('systemd-analyze', ['verify', '--man=no', `--root=${host}`, unit])
        assert.deepEqual([status, stdout, stderr], [0, '', ''])
      })
    }

    it('give the daemon no more than the documentation says', () => {
      const { stdout } = run('systemd-analyze', 'security', '--offline=true', `--root=${host}`, 'flanneld.service')
      const [, score] = /exposure level for flanneld\.service: ([\d.]+)/.exec(stdout) ?? []
      const text = readFileSync(join(root, 'Documentation/systemd.md'), 'utf8')
      assert.match(text, new RegExp(`systemd-analyze security flanneld\`: ${score?.replace('.', '\\.')}`))
    })
  })

  describe('before they are unpacked', () => {
    const programs = join(world, 'programs')
    let preinst = ''
    before(() => {
      mkdirSync(programs)
      // It looks where a service of systemd's finds programs; here, only where the test has put some.
      preinst = run('dpkg-deb', '-I', debian, 'preinst').stdout.replace(/^PATH=.*$/m, `PATH=${programs}`)
      symlinkSync(realpathSync('/bin/cat'), join(programs, 'cat'))
    })

    const install = (name: string, says: string) => {
      for (const other of ['node', 'nodejs']) rmSync(join(programs, other), { force: true })
      writeFileSync(join(programs, name), `#!/bin/sh\necho ${says}\n`)
      chmodSync(join(programs, name), 0o755)
      return ran('/bin/sh', ['-s', 'install'], preinst)
    }

    for (const good of ['v20.19.0', 'v20.20.1', 'v22.0.0', 'v24.21.0'])
      it(`Node ${good} will do`, () => assert.equal(install('node', good).status, 0))

    for (const bad of ['v18.20.4', 'v20.18.3', 'v9.0.0', 'what']) {
      it(`Node ${bad} is refused with the version and the ways to another`, () => {
        const { status, stderr } = install('node', bad)
        assert.equal(status, 1)
        assert.ok(stderr.includes(`Found: ${join(programs, 'node')}, version ${bad.replace(/^v/, '')}.`), stderr)
        assert.match(stderr, /nodejs\.org\/dist/)
      })
    }

    it('a program nodejs is named, and will not do: node is what the daemon is run by', () => {
      assert.match(install('nodejs', 'v24.21.0').stderr, /Found: .*\/nodejs, version 24\.21\.0\./)
    })

    it('no Node at all is named', () => {
      rmSync(join(programs, 'nodejs'), { force: true })
      const { status, stderr } = ran('/bin/sh', ['-s', 'install'], preinst)
      assert.deepEqual([status, /Found: none\./.test(stderr)], [1, true])
    })
  })
})

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
    (path) => !statSync(join(folder, path)).isDirectory(),
  )
}

function digest(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex')
}

function ran(program: string, args: readonly string[], input = ''): SpawnSyncReturns<string> {
  return spawnSync(program, args, { cwd: root, encoding: 'utf8', input })
}

function run(program: string, ...args: readonly string[]): SpawnSyncReturns<string> {
  const result = ran(program, args)
  assert.equal(result.status, 0, `${program} ${args.join(' ')}\n${result.error ?? ''}${result.stdout}${result.stderr}`)
  return result
}

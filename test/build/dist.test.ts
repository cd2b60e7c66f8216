import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { needs, nodeProgram, nodeVersions } from '../needs.ts'

const root = join(import.meta.dirname, '../..')
const about = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

describe('dist/', function () {
  this.timeout(60_000)
  const world = mkdtempSync(join(tmpdir(), 'flanneld-dist-'))
  const dist = join(world, 'dist')
  const program = join(dist, 'flanneld')
  before(() => cpSync(join(root, 'dist'), dist, { recursive: true }))
  after(() => rmSync(world, { recursive: true }))

  it('answers --version from a copied folder', () => assertVersion(program))

  it('answers --version through a symlink', () => {
    const link = join(world, 'link')
    symlinkSync(program, link)
    assertVersion(link)
  })

  for (const version of nodeVersions) {
    describe(`under Node ${version}`, function () {
      needs(this, `node:${version}`)
      it('answers --version', () => assertVersion(nodeProgram(version), program))
    })
  }

  it('is installed by npm from the packed file alone', function () {
    this.timeout(180_000)
    // Without scripts: prepack would build dist/ anew under the feet of other tests.
    npm(['pack', '--ignore-scripts', '--pack-destination', world])
    const tarball = readdirSync(world).find((file) => file.endsWith('.tgz'))
    assert.ok(tarball !== undefined)
    npm(['install', '--global', '--offline', '--prefix', join(world, 'prefix'), join(world, tarball)])
    assertVersion(join(world, 'prefix/bin/flanneld'))
    const installed = readdirSync(join(world, 'prefix/lib/node_modules', about.name))
    assert.ok(!installed.includes('node_modules'), 'nothing is installed beside it')
  })
})

function assertVersion(program: string, ...args: readonly string[]): void {
  const { status, stdout, stderr } = spawnSync(program, [...args, '--version'], {
    cwd: '/',
    env: { PATH: process.env['PATH'] },
    encoding: 'utf8',
  })
  assert.equal(status, 0, stderr)
  assert.ok(`${stdout}${stderr}`.includes(about.version), `${stdout}${stderr}`)
}

function npm(args: readonly string[]): void {
  const { status, stdout, stderr } = spawnSync('npm', args, { cwd: root, encoding: 'utf8' })
  assert.equal(status, 0, `npm ${args.join(' ')}\n${stdout}${stderr}`)
}

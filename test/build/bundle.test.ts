import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { fill } from '../../scripts/bundle/fill.ts'
import { needs, nodeProgram, nodeVersions } from '../needs.ts'

describe('a bundle', function () {
  this.timeout(60_000)
  const world = mkdtempSync(join(tmpdir(), 'flanneld-bundle-'))
  const dist = join(world, 'dist')
  const program = join(dist, 'program')

  before(async function () {
    this.timeout(60_000)
    await fill(dist, [{ source: 'test/build/fixture.ts', file: 'program', command: true }])
  })
  after(() => rmSync(world, { recursive: true }))

  it('is executable and loads koffi and grpc-js with no node_modules beside it', () => {
    assert.equal(statSync(program).mode & 0o777, 0o755)
    const { samePid, count, file, url } = run(program)
    const expected = { samePid: true, count: '4611686018427387904', file: program, url: pathToFileURL(program).href }
    assert.deepEqual({ samePid, count, file, url }, expected)
  })

  it('runs through symlinks to the program and to its folder', () => {
    const links = [join(world, 'program-link'), join(world, 'dist-link')]
    symlinkSync(program, links[0] ?? '')
    symlinkSync(dist, links[1] ?? '')
    assert.equal(run(links[0] ?? '').file, program)
    assert.equal(run(join(links[1] ?? '', 'program')).file, program)
  })

  it('runs from a copied folder', () => {
    const copy = join(world, 'a copy')
    cpSync(dist, copy, { recursive: true })
    assert.equal(run(join(copy, 'program')).file, join(copy, 'program'))
  })

  it('names the missing file where no native module fits', () => {
    const bare = join(world, 'bare')
    cpSync(dist, bare, { recursive: true })
    rmSync(join(bare, 'koffi'), { recursive: true })
    const { status, stderr } = spawnSync(join(bare, 'program'), { encoding: 'utf8' })
    assert.equal(status, 1)
    const platform = `linux-${process.arch}`
    assert.ok(
      stderr.includes(`${join(bare, 'koffi', platform, 'index.js')} is missing; this build carries ${platform}`),
      stderr,
    )
  })

  it('keeps names and lines in stack traces', () => {
    const bare = join(world, 'bare')
    assert.match(spawnSync(join(bare, 'program'), { encoding: 'utf8' }).stderr, /at loadStatic \(.*program:\d+:\d+\)/)
  })

  it('has nothing in it that makes code of text', () => {
    assert.doesNotMatch(readFileSync(program, 'latin1'), /(?<![.\w])(?:Function|eval)\(/)
  })

  it('hands on the licences of what it contains', () => {
    const text = readFileSync(join(dist, 'THIRD-PARTY-LICENSES'), 'utf8')
    for (const name of ['@grpc/grpc-js', 'koffi', 'protobufjs']) assert.match(text, new RegExp(`^${name} \\d`, 'm'))
    for (const name of ['@grpc/proto-loader', '@protobufjs/codegen'])
      assert.ok(!text.includes(name), `${name} is not in it`)
    assert.match(text, /Redistribution and use in source and binary forms/)
  })

  for (const version of nodeVersions) {
    describe(`under Node ${version}`, function () {
      needs(this, `node:${version}`)
      it('runs', () => {
        const got = run(nodeProgram(version), program)
        assert.deepEqual([got.samePid, got.node], [true, `v${version}`])
      })
    })
  }
})

function run(program: string, ...args: readonly string[]): Record<string, unknown> {
  // Nothing from the environment of the tests, tsx for one, may help the program along.
  const { status, stdout, stderr } = spawnSync(program, args, {
    cwd: '/',
    env: { PATH: process.env['PATH'] },
    encoding: 'utf8',
  })
  assert.equal(status, 0, stderr)
  return JSON.parse(stdout)
}

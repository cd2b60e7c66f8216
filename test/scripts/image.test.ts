import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeDockerArchive } from '../../scripts/image/docker-archive.ts'
import { developmentImage, withImage } from '../../scripts/image/manifest.ts'
import { bundledPackages } from '../../scripts/image/sbom.ts'

const sha256 = (content: Uint8Array) => `sha256:${createHash('sha256').update(content).digest('hex')}`

describe('a docker archive', () => {
  let folder: string

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'flanneld-archive-'))
  })

  after(async () => {
    await rm(folder, { recursive: true, force: true })
  })

  const entries = [
    { path: 'usr/bin/tool', mode: 0o755, content: 'tool' },
    { path: 'etc/passwd', mode: 0o644, content: 'root' },
    { path: 'bin', target: 'usr/bin' },
  ]
  const options = {
    name: 'localhost/test:1',
    entrypoint: ['/usr/bin/tool'],
    path: '/usr/bin',
    date: 86_400,
    layers: [
      { name: 'one', entries },
      { name: 'two', entries: [{ path: 'opt/x', mode: 0o600, content: 'x' }] },
    ],
  }

  it('has the same bytes when it is written again, whatever the order of the files', async () => {
    const [first, second] = [join(folder, 'first.tar'), join(folder, 'second.tar')]
    const written = await writeDockerArchive(first, options)
    const layers = [{ name: 'one', entries: [...entries].reverse() }, ...options.layers.slice(1)]
    assert.deepEqual(await writeDockerArchive(second, { ...options, layers }), written)
    assert.ok((await readFile(first)).equals(await readFile(second)))
  })

  it('names its layers by what they hold, owned by root and of the time asked for', async () => {
    const file = join(folder, 'image.tar')
    const { id } = await writeDockerArchive(file, options)
    const member = (name: string) => execFileSync('tar', ['-xOf', file, name])
    const [manifest] = JSON.parse(member('manifest.json').toString())
    assert.deepEqual(manifest.RepoTags, ['localhost/test:1'])
    const config = member(manifest.Config)
    assert.equal(sha256(config), id)
    const { rootfs, config: run, created } = JSON.parse(config.toString())
    assert.deepEqual(
      rootfs.diff_ids,
      manifest.Layers.map((name: string) => sha256(member(name))),
    )
    assert.deepEqual(
      [run.Entrypoint, run.Env, created],
      [['/usr/bin/tool'], ['PATH=/usr/bin'], '1970-01-02T00:00:00.000Z'],
    )
    const listed = execFileSync('tar', ['--numeric-owner', '--utc', '-tvf', '-'], {
      input: member('one.tar'),
    }).toString()
    assert.match(listed, /^-rwxr-xr-x 0\/0 +4 1970-01-02 00:00 usr\/bin\/tool$/m)
    assert.match(listed, /^drwxr-xr-x 0\/0 .* usr\/$/m)
  })
})

describe('the manifest with another image', () => {
  const manifest = `- image: ${developmentImage}\n- image: other/image:1\n- image: ${developmentImage}\n`

  for (const name of [
    'flanneld',
    'localhost/flanneld:dev',
    'registry.example:5000/a/b_c:v1.2-3',
    `a@sha256:${'0'.repeat(64)}`,
  ])
    it(`takes ${name}`, () => {
      assert.equal(withImage(manifest, name), `- image: ${name}\n- image: other/image:1\n- image: ${name}\n`)
    })

  for (const name of ['', 'a b', 'a\nb: c', '"a"', 'a:', '-a', 'a@sha256:1', '$(x)', 'A/b'])
    it(`refuses ${JSON.stringify(name)}`, () => {
      assert.throws(() => withImage(manifest, name), /is no image name/)
    })

  it('refuses a manifest without our image', () => {
    assert.throws(() => withImage('image: other\n', 'x'), /has no line/)
  })

  it('is what kube-flannel.yml has', async () => {
    const text = await readFile(join(import.meta.dirname, '../../kube-flannel.yml'), 'utf8')
    assert.match(withImage(text, 'registry.example/flanneld:1'), /^ +image: registry\.example\/flanneld:1$/m)
  })
})

describe('the bill of materials', () => {
  it('has of npm what is bundled, by the notices beside the program', () => {
    const notices = '@grpc/grpc-js 1.14.7\nLicence: Apache-2.0\n\nsome text 1.0\n\n----\n\nkoffi 3.3.4\nLicence: MIT\n'
    assert.deepEqual([...bundledPackages(notices)], ['@grpc/grpc-js 1.14.7', 'koffi 3.3.4'])
  })
})

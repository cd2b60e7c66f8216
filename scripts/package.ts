// npm run package [-- FOLDER]: writes a Debian package and an archive of the same files to build/packages/, out of dist/ as it is.
import { execFileSync } from 'node:child_process'
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import manifest from '../package.json' with { type: 'json' }
import { controlEntries, debianArchitecture } from './package/control.ts'
import { sourceDate } from './package/source-date.ts'
import { OPTIONS_FILE, type PackageEntry, packageEntries, writeTree } from './package/tree.ts'

const root = join(import.meta.dirname, '..')
const target = resolve(process.argv[2] ?? join(root, 'build/packages'))
const work = join(target, `.new-${process.pid}`)

const date = sourceDate(root)
const { version, description } = manifest
const architecture = debianArchitecture(await readdir(join(root, 'dist/koffi')))
const entries = await packageEntries(root, { version, date })
try {
  await mkdir(work, { recursive: true })
  await publish(`flanneld_${version}_${architecture}.deb`, await debianPackage())
  await publish(`flanneld-${version}-${architecture}.tar.gz`, await archive())
} finally {
  await rm(work, { recursive: true, force: true })
}

async function debianPackage(): Promise<string> {
  const stage = join(work, 'deb')
  const scripts = ['preinst', 'postinst', 'prerm', 'postrm'].map(
    async (name): Promise<PackageEntry> => ({
      path: join('DEBIAN', name),
      mode: 0o755,
      content: await readFile(join(root, 'packaging/debian', name)),
    }),
  )
  const control = [...controlEntries(entries, { version, architecture, description }), ...(await Promise.all(scripts))]
  await writeTree(stage, [...entries, ...control], date)
  const file = join(work, 'flanneld.deb')
  run('dpkg-deb', ['--root-owner-group', '-Zxz', '--build', stage, file])
  return file
}

/**
 * To be unpacked at /: `tar -C / -xf`. It never overwrites a host's options: these lie among the documentation. No folders are in it,
 * or tar would put one in the place of a link (/usr/sbin on newer Fedora).
 */
async function archive(): Promise<string> {
  const stage = join(work, 'tar')
  const moved = entries.map((entry) =>
    entry.path === OPTIONS_FILE ? { ...entry, path: 'usr/share/doc/flanneld/etc-default-flanneld' } : entry,
  )
  await writeTree(stage, moved, date)
  const file = join(work, 'flanneld.tar.gz')
  // Without -n gzip would note the time.
  const owner = ['--owner=0', '--group=0', '--numeric-owner']
  const paths = moved.map(({ path }) => path).sort()
  run('tar', ['-C', stage, '--format=gnu', ...owner, '--use-compress-program=gzip -9n', '-cf', file, ...paths])
  return file
}

async function publish(name: string, file: string): Promise<void> {
  await rename(file, join(target, name))
  process.stdout.write(`${join(target, name)}\n`)
}

function run(program: string, args: readonly string[]): void {
  execFileSync(program, args, {
    env: { ...process.env, SOURCE_DATE_EPOCH: String(date), LC_ALL: 'C' },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
}

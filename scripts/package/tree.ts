import { chmod, lutimes, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { completionScript } from '../../flanneld/completion/completion.ts'
import { environmentFile } from './environment-file.ts'
import { manPage } from './man-page.ts'

/** What stands on a host at `/` + path. */
export type PackageEntry =
  | { readonly path: string; readonly mode: number; readonly content: string | Uint8Array }
  | { readonly path: string; readonly target: string }

export const OPTIONS_FILE = 'etc/default/flanneld'
const COMPLETIONS = {
  'usr/share/bash-completion/completions/flanneld': 'bash',
  'usr/share/zsh/vendor-completions/_flanneld': 'zsh',
  'usr/share/fish/vendor_completions.d/flanneld.fish': 'fish',
} as const
const LIBRARY = 'usr/lib/flanneld'
const UNITS = 'usr/lib/systemd/system'

/** Everything below usr/ only: on a host where /lib is a link, an archive with lib/ would replace it. */
export async function packageEntries(
  root: string,
  about: { readonly version: string; readonly date: number },
): Promise<readonly PackageEntry[]> {
  const copy = async (from: string, path: string, mode = 0o644) => ({
    path,
    mode,
    content: await readFile(join(root, from)),
  })
  const packed = (path: string, content: string | Uint8Array) => ({
    path,
    mode: 0o644,
    content: gzipSync(content, { level: 9 }),
  })
  const program = (await filesBelow(join(root, 'dist'))).map((file) =>
    copy(`dist/${file}`, `${LIBRARY}/${file}`, file === 'flanneld' ? 0o755 : 0o644),
  )
  const units = ['flanneld.service', 'flanneld-docker-options.service', 'flanneld-docker-options.path']
  const scripts = ['mk-docker-opts.sh', 'check-docker-opts.sh']
  return [
    ...(await Promise.all([
      ...program,
      ...units.map((unit) => copy(`packaging/systemd/${unit}`, `${UNITS}/${unit}`)),
      ...scripts.map((script) => copy(`packaging/docker/${script}`, `${LIBRARY}/${script}`, 0o755)),
      copy('packaging/systemd/docker.service.conf', `${LIBRARY}/docker.service.conf`),
      copy('packaging/sysctl.d/50-flanneld.conf', 'usr/lib/sysctl.d/50-flanneld.conf'),
      copy('LICENSE', 'usr/share/doc/flanneld/copyright'),
    ])),
    { path: 'usr/sbin/flanneld', target: '../lib/flanneld/flanneld' },
    { path: OPTIONS_FILE, mode: 0o600, content: environmentFile() },
    // Where each shell of Debian looks for those of packages.
    ...Object.entries(COMPLETIONS).map(([path, shell]) => ({ path, mode: 0o644, content: completionScript(shell) })),
    packed('usr/share/man/man8/flanneld.8.gz', manPage(about)),
    packed('usr/share/doc/flanneld/changelog.gz', await readFile(join(root, 'CHANGELOG.md'))),
  ]
}

export async function filesBelow(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort()
}

/** Writes the entries below `stage`, whatever the umask; each folder gets mode 0755 and everything the time `date`. */
export async function writeTree(stage: string, entries: readonly PackageEntry[], date: number): Promise<void> {
  const folders = new Set([stage])
  for (const entry of entries) {
    const place = join(stage, entry.path)
    for (let folder = dirname(place); folder !== stage; folder = dirname(folder)) folders.add(folder)
    await mkdir(dirname(place), { recursive: true })
    if ('target' in entry) {
      await symlink(entry.target, place)
    } else {
      await writeFile(place, entry.content)
      await chmod(place, entry.mode)
    }
    await lutimes(place, date, date)
  }
  for (const folder of [...folders].sort().reverse()) {
    await chmod(folder, 0o755)
    await lutimes(folder, date, date)
  }
}

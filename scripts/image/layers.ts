import { execFileSync } from 'node:child_process'
import { readdir, readFile, realpath, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { filesBelow, type PackageEntry } from '../package/tree.ts'
import { librariesOf, realPlace } from './libraries.ts'

/** What changes together. In the order of the image: what changes least comes first, so that a new version sends one small layer. */
export interface Layer {
  readonly name: string
  readonly entries: readonly PackageEntry[]
}

/** The image's PATH; NODE's shebang and all names below fit it. */
export const path = '/usr/sbin:/usr/bin'
/** As in flannel's image, so that a manifest written for that one starts ours. */
export const entrypoint = '/opt/bin/flanneld'

const node = 'usr/bin/node'
const library = 'usr/lib/flanneld'
/** What `--cni-conf-file` and the init containers put on the host. */
const plugins = ['bridge', 'host-local', 'loopback', 'portmap']
const families = ['iptables', 'ip6tables']

/** All files of the image, from this machine: its Node, Debian's packet filter tools and CNI plugins, `dist/` as it is. */
export async function imageLayers(root: string): Promise<readonly Layer[]> {
  const tools = await netfilterTools()
  const runtime = await withLibraries(
    [await program(process.execPath, node)],
    await natives(join(root, 'dist')),
    new Set(),
  )
  const placed = new Set(runtime.map((entry) => entry.path))
  return [
    { name: 'runtime', entries: [...skeleton(), ...runtime] },
    { name: 'netfilter', entries: [...(await withLibraries(tools, [], placed)), ...toolNames()] },
    { name: 'cni-plugins', entries: await Promise.all(plugins.map((name) => program(`/usr/lib/cni/${name}`))) },
    { name: 'flanneld', entries: await daemon(root) },
  ]
}

/** A system whose /bin, /sbin and /lib lie in /usr, and the two files without which names of users and hosts are not found. */
function skeleton(): readonly PackageEntry[] {
  const links = ['bin', 'sbin', 'lib', 'lib64'].map((name) => ({ path: name, target: `usr/${name}` }))
  return [
    ...links,
    {
      path: 'etc/passwd',
      mode: 0o644,
      content: 'root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n',
    },
    { path: 'etc/group', mode: 0o644, content: 'root:x:0:\nnogroup:x:65534:\n' },
    { path: 'etc/nsswitch.conf', mode: 0o644, content: 'hosts: files dns\n' },
  ]
}

async function netfilterTools(): Promise<readonly Source[]> {
  const extensions = join(await libraryFolder(), 'xtables')
  const names = (await readdir(extensions)).filter((name) => name.endsWith('.so')).sort()
  return await Promise.all([
    ...['nft', 'xtables-nft-multi', 'xtables-legacy-multi'].map((name) => program(`/usr/sbin/${name}`)),
    ...names.map((name) => program(join(extensions, name), undefined, 0o644)),
  ])
}

/** As Debian's alternatives have it: plain `iptables` is the nft one. */
function toolNames(): readonly PackageEntry[] {
  return families.flatMap((family) =>
    ['', '-save', '-restore'].flatMap((end) => [
      { path: `usr/sbin/${family}${end}`, target: 'xtables-nft-multi' },
      { path: `usr/sbin/${family}-nft${end}`, target: 'xtables-nft-multi' },
      { path: `usr/sbin/${family}-legacy${end}`, target: 'xtables-legacy-multi' },
    ]),
  )
}

async function daemon(root: string): Promise<readonly PackageEntry[]> {
  const files = (await filesBelow(join(root, 'dist'))).map(async (file): Promise<PackageEntry> => {
    const content = await readFile(join(root, 'dist', file))
    const place = `${library}/${file}`
    return file === 'flanneld'
      ? { path: place, mode: 0o755, content: withInterpreter(content) }
      : { path: place, mode: 0o644, content }
  })
  return [
    ...(await Promise.all(files)),
    {
      path: 'opt/bin/install-conf',
      mode: 0o755,
      content: await readFile(join(root, 'packaging/image/install-conf.cjs')),
    },
    { path: entrypoint.slice(1), target: `/${library}/flanneld` },
    { path: 'usr/sbin/flanneld', target: `/${library}/flanneld` },
    { path: 'usr/share/doc/flanneld/copyright', mode: 0o644, content: await readFile(join(root, 'LICENSE')) },
  ]
}

/** The image has no /usr/bin/env, which the first line of the built program names. */
function withInterpreter(content: Buffer): Buffer {
  const end = content.indexOf('\n')
  if (content.subarray(0, end).toString() !== '#!/usr/bin/env node')
    throw new Error('dist/flanneld has another first line')
  return Buffer.concat([Buffer.from(`#!/${node}`), content.subarray(end)])
}

type Source = PackageEntry & { readonly from: string }

/** A file of this machine, at the same place or another. */
async function program(from: string, place = realPlace(from).slice(1), mode = 0o755): Promise<Source> {
  const file = await realpath(from)
  if (!(await stat(file)).isFile()) throw new Error(`${from} is no file`)
  return { path: place, mode, content: await readFile(file), from: file }
}

/** The files and all libraries that they and `more` load, but for those that an earlier layer has. */
async function withLibraries(
  files: readonly Source[],
  more: readonly string[],
  placed: ReadonlySet<string>,
): Promise<readonly PackageEntry[]> {
  const libraries = librariesOf([...files.map(({ from }) => from), ...more])
  const entries = await Promise.all(libraries.map((path) => program(path)))
  const own = new Set(files.map((file) => file.path))
  return [...files, ...entries.filter((entry) => !placed.has(entry.path) && !own.has(entry.path))]
}

/** Modules that dist/ brings for the C library of this machine. */
async function natives(dist: string): Promise<readonly string[]> {
  const files = (await filesBelow(dist)).filter((file) => file.endsWith('.node') && !file.includes('musl'))
  if (files.length === 0) throw new Error('dist/ has no native module: build it (npm run build)')
  return files.map((file) => join(dist, file))
}

/** `/usr/lib/x86_64-linux-gnu` on amd64. */
async function libraryFolder(): Promise<string> {
  const found = execFileSync('dpkg-query', ['--listfiles', 'iptables'], { encoding: 'utf8' })
    .split('\n')
    .find((line) => line.endsWith('/xtables'))
  if (found === undefined) throw new Error('the Debian package iptables brings no folder xtables')
  return found.slice(0, -'/xtables'.length)
}

import { join } from 'node:path'
import { OPTIONS_FILE, type PackageEntry } from './tree.ts'

/** Debian's name of each platform for which koffi brings a native module. */
const ARCHITECTURES: Readonly<Record<string, string>> = {
  'linux-x64': 'amd64',
  'linux-arm64': 'arm64',
  'linux-ia32': 'i386',
  'linux-arm': 'armhf',
  'linux-riscv64': 'riscv64',
}

/** The one for which dist/ was built. */
export function debianArchitecture(platforms: readonly string[]): string {
  const [platform = 'none', ...more] = platforms
  const name = ARCHITECTURES[platform]
  if (name === undefined || more.length > 0)
    throw new Error(`dist/ carries native modules for ${platforms.join(', ')}; a package has one architecture`)
  return name
}

/** The files of DEBIAN/ beside the maintainer scripts. */
export function controlEntries(
  entries: readonly PackageEntry[],
  about: { readonly version: string; readonly architecture: string; readonly description: string },
): readonly PackageEntry[] {
  const bytes = entries.reduce((sum, entry) => sum + ('content' in entry ? entry.content.length : 0), 0)
  const fields = {
    Package: 'flanneld',
    Version: about.version,
    Architecture: about.architecture,
    Maintainer: 'flanneld maintainers <maintainers@flanneld.invalid>',
    'Installed-Size': String(Math.ceil(bytes / 1024)),
    // Not nodejs: see preinst.
    Depends: 'libc6 (>= 2.28), nftables | iptables',
    Recommends: 'kmod',
    Suggests: 'docker.io | docker-ce, etcd-server',
    Section: 'net',
    Priority: 'optional',
    Description: `overlay network for the containers of many hosts\n ${about.description}\n .\n Needs Node.js 20.19 or newer, from a package or not.`,
  }
  const control = Object.entries(fields).map(([name, value]) => `${name}: ${value}\n`)
  return [
    { path: join('DEBIAN', 'control'), mode: 0o644, content: control.join('') },
    { path: join('DEBIAN', 'conffiles'), mode: 0o644, content: `/${OPTIONS_FILE}\n` },
  ]
}

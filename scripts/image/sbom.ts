import { execFileSync, spawnSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Layer } from './layers.ts'

interface Component {
  readonly type: string
  readonly name: string
  readonly version: string
  readonly purl: string
}

/**
 * What the image is made of, in CycloneDX 1.5: of npm's own list of packages those that are bundled in `dist/`, and Node and the Debian
 * packages that its other files come from. Without a serial number and with the time `date`, so that it is the same for the same image.
 */
export async function imageSbom(
  layers: readonly Layer[],
  options: { readonly root: string; readonly name: string; readonly date: number },
): Promise<string> {
  const { root, name, date } = options
  const list = JSON.parse(execFileSync('npm', ['sbom', '--sbom-format', 'cyclonedx'], { cwd: root, encoding: 'utf8' }))
  const bundled = bundledPackages(await readFile(join(root, 'dist/THIRD-PARTY-LICENSES'), 'utf8'))
  const components: readonly Component[] = list.components
  const paths = layers.flatMap(({ entries }) => entries.flatMap((one) => ('content' in one ? [`/${one.path}`] : [])))
  const version = process.versions.node
  const node = { type: 'application', name: 'node', version, purl: `pkg:generic/node@${version}` }
  const sbom = {
    ...list,
    serialNumber: undefined,
    dependencies: undefined,
    metadata: {
      ...list.metadata,
      timestamp: new Date(date * 1000).toISOString(),
      component: { ...list.metadata.component, type: 'container', name },
    },
    components: [
      ...components.filter((one) => bundled.has(`${one.name} ${one.version}`)),
      node,
      ...debianPackages(paths.filter((path) => path !== '/usr/bin/node')),
    ],
  }
  return `${JSON.stringify(sbom, undefined, 2)}\n`
}

/** `NAME VERSION` of each, as the notices begin. */
export function bundledPackages(notices: string): ReadonlySet<string> {
  return new Set([...notices.matchAll(/^(\S+ \S+)\nLicence: /gm)].map(([, name = '']) => name))
}

/** Those that own the files; on Debian 12 some are still known by their names before /usr was merged. */
function debianPackages(paths: readonly string[]): readonly Component[] {
  const names = paths.flatMap((path) => [path, path.replace(/^\/usr/, '')])
  const owners = spawnSync('dpkg-query', ['--search', ...names], { encoding: 'utf8' }).stdout
  const found = new Set([...owners.matchAll(/^([^:\s]+)(?::\w+)?: /gm)].map(([, owner = '']) => owner))
  const format = `\${Package}\\t\${Version}\\t\${Architecture}\\n`
  return execFileSync('dpkg-query', ['--show', `--showformat=${format}`, ...[...found].sort()], { encoding: 'utf8' })
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [name = '', version = '', arch = ''] = line.split('\t')
      const purl = `pkg:deb/debian/${name}@${encodeURIComponent(version)}?arch=${arch}`
      return { type: 'library', name, version, purl }
    })
}

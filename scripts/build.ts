import { chmod, mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { build } from 'esbuild'
import { etcdProto } from './bundle/etcd-proto.ts'
import { copyKoffi, koffiNative, koffiPlatforms } from './bundle/koffi-native.ts'
import { thirdPartyLicenses } from './bundle/licenses.ts'

/** What is built, each one file without imports beside Node's own. A worker is a second line here. */
const entries = [{ source: 'flanneld/main.ts', file: 'flanneld', executable: true }]

const root = join(import.meta.dirname, '..')
const dist = join(root, 'dist')
const nodeModules = join(root, 'node_modules')

const fresh = join(root, 'build', `dist-${process.pid}`)
const stale = join(root, 'build', `old-${process.pid}`)
try {
  await mkdir(fresh, { recursive: true })
  await fill(fresh)
  // Whole folders change place, so that a daemon started by somebody else meanwhile never loads half of a build.
  await rename(dist, stale).catch(absentIsFine)
  await rename(fresh, dist)
} finally {
  await rm(fresh, { recursive: true, force: true })
  await rm(stale, { recursive: true, force: true })
}

async function fill(folder: string): Promise<void> {
  const platforms = await koffiPlatforms(nodeModules)
  const bundled = new Set<string>()
  for (const entry of entries) {
    for (const input of await bundle(entry.source, join(folder, entry.file), platforms)) bundled.add(input)
    if (entry.executable) await chmod(join(folder, entry.file), 0o755)
  }
  await copyKoffi(nodeModules, folder, platforms)
  await writeFile(join(folder, 'package.json'), '{ "type": "commonjs" }\n')
  await writeFile(join(folder, 'THIRD-PARTY-LICENSES'), await thirdPartyLicenses(root, [...bundled]))
}

/** Returns the paths of all files that went into the bundle. Decisions and figures: Documentation/decisions/0002-bundle.md. */
async function bundle(source: string, outfile: string, platforms: readonly string[]): Promise<readonly string[]> {
  const result = await build({
    absWorkingDir: root,
    entryPoints: [source],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20.19',
    metafile: true,
    legalComments: 'none',
    minifySyntax: true,
    logLevel: 'warning',
    banner: { js: '#!/usr/bin/env node\nconst importMetaUrl = require("node:url").pathToFileURL(__filename).href' },
    define: {
      'import.meta.url': 'importMetaUrl',
      'import.meta.dirname': '__dirname',
      'import.meta.filename': '__filename',
      KOFFI_PLATFORMS: JSON.stringify(platforms.join(', ')),
    },
    plugins: [koffiNative(), etcdProto()],
  })
  return Object.keys(result.metafile.inputs)
}

function absentIsFine(cause: NodeJS.ErrnoException): void {
  if (cause.code !== 'ENOENT') throw cause
}

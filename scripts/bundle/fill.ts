import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { build } from 'esbuild'
import { copyKoffi, koffiNative, koffiPlatforms } from './koffi-native.ts'
import { thirdPartyLicenses } from './licenses.ts'

export interface Entry {
  /** Path from the root of the project. Its top level cannot `await`: the bundle is CommonJS. */
  readonly source: string
  /** Name in the folder that is filled. */
  readonly file: string
  /** Whether the file is a command: it gets the first line and the mode of one. */
  readonly command?: true
}

const root = join(import.meta.dirname, '../..')
const nodeModules = join(root, 'node_modules')
const target = 'node20.19'

/** Writes a folder that plain `node` runs: one file for each entry, and beside them all that these load. */
export async function fill(folder: string, entries: readonly Entry[]): Promise<void> {
  await mkdir(folder, { recursive: true })
  const platforms = await koffiPlatforms(nodeModules)
  const bundled = new Set<string>()
  for (const entry of entries) {
    for (const input of await bundle(entry, join(folder, entry.file), platforms)) bundled.add(input)
    if (entry.command) await chmod(join(folder, entry.file), 0o755)
  }
  await copyKoffi(nodeModules, folder, platforms)
  await writeFile(join(folder, 'package.json'), '{ "type": "commonjs" }\n')
  await writeFile(join(folder, 'THIRD-PARTY-LICENSES'), await thirdPartyLicenses(root, [...bundled]))
}

/** Returns the paths of all files that went in. Why these options: Documentation/decisions/0002-bundle.md. */
async function bundle(
  { source, command }: Entry,
  outfile: string,
  platforms: readonly string[],
): Promise<readonly string[]> {
  const firstLine = command ? '#!/usr/bin/env node\n' : ''
  const result = await build({
    absWorkingDir: root,
    entryPoints: [source],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target,
    metafile: true,
    legalComments: 'none',
    minifySyntax: true,
    logLevel: 'warning',
    banner: { js: `${firstLine}const importMetaUrl = require("node:url").pathToFileURL(__filename).href` },
    define: {
      'import.meta.url': 'importMetaUrl',
      'import.meta.dirname': '__dirname',
      'import.meta.filename': '__filename',
      // grpc-js would write lines of its own beside the log; what they say arrives as errors, too.
      'process.env.GRPC_NODE_VERBOSITY': '"NONE"',
      KOFFI_PLATFORMS: JSON.stringify(platforms.join(', ')),
    },
    // Files of their own, which hardly anybody loads: the program is read whole at each start.
    alias: { re2js: './re2js.js', 'js-yaml': './js-yaml.js' },
    // grpc-js would load proto-loader for its server's channelz and orca, which nobody here turns on.
    external: ['./re2js.js', './js-yaml.js', '@grpc/proto-loader'],
    plugins: [koffiNative()],
  })
  return Object.keys(result.metafile.inputs)
}

import { execFile } from 'node:child_process'
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import { etcdProto } from './etcd-proto.ts'
import { grpcClient } from './grpc-client.ts'
import { copyKoffi, koffiNative, koffiPlatforms } from './koffi-native.ts'
import { thirdPartyLicenses } from './licenses.ts'

export interface Entry {
  /** Path from the root of the project. Its top level cannot `await`: the bundle is CommonJS. */
  readonly source: string
  /** Name in the folder that is filled. */
  readonly file: string
  /** Name of the command that runs the file; it must know `--version`. Undefined: it is not run by itself. */
  readonly command?: string
}

const root = join(import.meta.dirname, '../..')
const nodeModules = join(root, 'node_modules')
const target = 'node20.19'

/** Writes a folder that plain `node` runs: one file for each entry, and beside them all that these load. */
export async function fill(folder: string, entries: readonly Entry[]): Promise<void> {
  await mkdir(folder, { recursive: true })
  const platforms = await koffiPlatforms(nodeModules)
  const bundled = new Set<string>()
  for (const { source, file } of entries) {
    for (const input of await bundle(source, join(folder, file), platforms)) bundled.add(input)
  }
  await copyKoffi(nodeModules, folder, platforms)
  for (const { command } of entries) if (command !== undefined) await addCommand(join(folder, command))
  await writeFile(join(folder, 'package.json'), '{ "type": "commonjs" }\n')
  await writeFile(join(folder, 'THIRD-PARTY-LICENSES'), await thirdPartyLicenses(root, [...bundled]))
}

/** Makes a command of the program at `${path}.js`, which becomes one expression: the function that launcher.cjs calls. */
async function addCommand(path: string): Promise<void> {
  const program = await readFile(`${path}.js`, 'utf8')
  await writeFile(
    `${path}.js`,
    `(function (exports, require, module, __filename, __dirname) {${escaped(program)}\n})\n`,
  )
  const launcher = join(import.meta.dirname, 'launcher.cjs')
  await build({ entryPoints: [launcher], outfile: path, bundle: true, platform: 'node', format: 'cjs', target })
  await chmod(path, 0o755)
  await promisify(execFile)(process.execPath, [join(import.meta.dirname, 'write-bytecode.cjs'), path])
}

/** ASCII needs no decoding. esbuild leaves other letters in comments and in regular expressions only, where this means the same. */
function escaped(program: string): string {
  return program.replace(/[^\0-\x7f]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** Returns the paths of all files that went in. Why these options: Documentation/decisions/0002-bundle.md. */
async function bundle(source: string, outfile: string, platforms: readonly string[]): Promise<readonly string[]> {
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
    banner: { js: 'const importMetaUrl = require("node:url").pathToFileURL(__filename).href' },
    define: {
      'import.meta.url': 'importMetaUrl',
      'import.meta.dirname': '__dirname',
      'import.meta.filename': '__filename',
      KOFFI_PLATFORMS: JSON.stringify(platforms.join(', ')),
    },
    // A file of its own, which hardly anybody loads: flanneld.js and its bytecode are read whole at each start.
    alias: { re2js: './re2js.js' },
    external: ['./re2js.js'],
    plugins: [koffiNative(), etcdProto(), grpcClient()],
  })
  return Object.keys(result.metafile.inputs)
}

// npm run image -- --out FILE [--name NAME]: the container image as a docker-archive, from dist/, the local Node and Debian packages.
// npm run image -- --out FILE --sbom FILE: what it is made of as well, in CycloneDX.
// npm run image -- --tree FOLDER: the files of each layer in a folder of its own, for packaging/image/Dockerfile.
import { writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { imageLayers } from './image/layers.ts'
import { developmentImage } from './image/manifest.ts'
import { writeOurImage } from './image/our-image.ts'
import { imageSbom } from './image/sbom.ts'
import { sourceDate } from './package/source-date.ts'
import { writeTree } from './package/tree.ts'

const root = join(import.meta.dirname, '..')
const { values } = parseArgs({
  options: {
    out: { type: 'string' },
    name: { type: 'string', default: developmentImage },
    sbom: { type: 'string' },
    tree: { type: 'string' },
  },
})
if ((values.out === undefined) === (values.tree === undefined)) {
  process.stderr.write('usage: npm run image -- --out FILE [--name NAME] [--sbom FILE], or --tree FOLDER\n')
  process.exit(2)
}
// npm runs this in the project's folder, whatever the caller's.
const fromCaller = (path: string) => resolve(process.env['INIT_CWD'] ?? '', path)
const place = fromCaller(values.out ?? values.tree ?? '')
if (values.sbom !== undefined) {
  const text = await imageSbom(await imageLayers(root), { root, name: values.name, date: sourceDate(root) })
  await writeFile(fromCaller(values.sbom), text)
}
if (values.tree === undefined) await archive(place)
else
  for (const { name, entries } of await imageLayers(root)) await writeTree(join(place, name), entries, sourceDate(root))

async function archive(file: string): Promise<void> {
  const image = await writeOurImage(file, { root, name: values.name })
  const bytes = image.layers.reduce((sum, layer) => sum + layer.bytes, 0)
  const lines = [
    ...image.layers.map((layer) => `${layer.name.padEnd(12)}${megabytes(layer.bytes)}  ${layer.digest}`),
    `${'image'.padEnd(12)}${megabytes(bytes)}  ${image.id}  ${values.name}`,
    file,
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
}

function megabytes(bytes: number): string {
  return `${(bytes / 1_000_000).toFixed(1)} MB`.padStart(9)
}

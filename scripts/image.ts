// npm run image -- --out FILE [--name NAME]: the container image as a docker-archive, from dist/, the local Node and Debian packages.
// npm run image -- --tree FOLDER: the files of each layer in a folder of its own, for packaging/image/Dockerfile.
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import about from '../package.json' with { type: 'json' }
import { writeDockerArchive } from './image/docker-archive.ts'
import { entrypoint, imageLayers, path } from './image/layers.ts'
import { developmentImage } from './image/manifest.ts'
import { sourceDate } from './package/source-date.ts'
import { writeTree } from './package/tree.ts'

const root = join(import.meta.dirname, '..')
const { values } = parseArgs({
  options: { out: { type: 'string' }, name: { type: 'string', default: developmentImage }, tree: { type: 'string' } },
})
if ((values.out === undefined) === (values.tree === undefined)) {
  process.stderr.write('usage: npm run image -- --out FILE [--name NAME], or --tree FOLDER\n')
  process.exit(2)
}
// npm runs this in the project's folder, whatever the caller's.
const place = resolve(process.env['INIT_CWD'] ?? '', values.out ?? values.tree ?? '')
const date = sourceDate(root)
const layers = await imageLayers(root)
if (values.tree === undefined) await archive(place)
else for (const { name, entries } of layers) await writeTree(join(place, name), entries, date)

async function archive(file: string): Promise<void> {
  const image = await writeDockerArchive(file, {
    name: values.name,
    layers,
    entrypoint: [entrypoint],
    path,
    labels: {
      'org.opencontainers.image.title': about.name,
      'org.opencontainers.image.version': about.version,
      'org.opencontainers.image.licenses': about.license,
      'org.opencontainers.image.description': about.description,
    },
    date,
  })
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

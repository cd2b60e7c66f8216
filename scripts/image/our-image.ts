import about from '../../package.json' with { type: 'json' }
import { sourceDate } from '../package/source-date.ts'
import { type WrittenImage, writeDockerArchive } from './docker-archive.ts'
import { entrypoint, imageLayers, path } from './layers.ts'

/** Writes the daemon's image, from `dist/` below `root` as it is, under that name. */
export async function writeOurImage(file: string, options: { root: string; name: string }): Promise<WrittenImage> {
  return await writeDockerArchive(file, {
    name: options.name,
    layers: await imageLayers(options.root),
    entrypoint: [entrypoint],
    path,
    labels: {
      'org.opencontainers.image.title': about.name,
      'org.opencontainers.image.version': about.version,
      'org.opencontainers.image.licenses': about.license,
      'org.opencontainers.image.description': about.description,
    },
    date: sourceDate(options.root),
  })
}

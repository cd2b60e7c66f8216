import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeDockerArchive } from '../../scripts/image/docker-archive.ts'
import type { PackageEntry } from '../../scripts/package/tree.ts'
import { run } from '../command.ts'

export const pauseImage = 'localhost/pause:1'
export const busyboxImage = 'localhost/busybox:1'
const path = '/usr/sbin:/usr/bin:/sbin:/bin'

/** Compiles pid 1 of nodes and pods; returns its path. */
export async function buildPause(folder: string): Promise<string> {
  const program = join(folder, 'pause')
  await run(['gcc', '-static', '-Os', '-s', '-o', program, join(import.meta.dirname, 'pause.c')])
  return program
}

/** Docker archives of the images that the lab's own pods need; returns their paths. */
export async function buildTestImages(folder: string, pause: string): Promise<readonly string[]> {
  const busybox = (await run(['sh', '-c', 'readlink -f "$(command -v busybox)"'])).stdout.trim()
  const names = (await run([busybox, '--list'])).stdout.split('\n').filter((name) => name !== '' && name !== 'busybox')
  const images = [
    { name: pauseImage, entrypoint: ['/pause'], entries: [await file('pause', pause)] },
    {
      name: busyboxImage,
      entrypoint: ['/bin/sh'],
      entries: [
        await file('bin/busybox', busybox),
        ...names.map((name) => ({ path: `bin/${name}`, target: 'busybox' })),
        { path: 'tmp/.keep', mode: 0o644, content: '' },
      ],
    },
  ]
  return await Promise.all(
    images.map(async ({ name, entrypoint, entries }, index) => {
      const archive = join(folder, `image-${index}.tar`)
      await writeDockerArchive(archive, { name, entrypoint, path, date: 0, layers: [{ name: 'root', entries }] })
      return archive
    }),
  )
}

async function file(place: string, from: string): Promise<PackageEntry> {
  return { path: place, mode: 0o755, content: await readFile(from) }
}

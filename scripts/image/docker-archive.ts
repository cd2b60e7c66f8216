import { createHash } from 'node:crypto'
import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { arch } from 'node:os'
import { dirname } from 'node:path'
import type { PackageEntry } from '../package/tree.ts'
import { tar } from './tar.ts'

export interface ImageOptions {
  /** `localhost/flanneld:dev` */
  readonly name: string
  readonly layers: readonly { readonly name: string; readonly entries: readonly PackageEntry[] }[]
  readonly entrypoint: readonly string[]
  readonly path: string
  readonly labels?: Readonly<Record<string, string>>
  /** Seconds since 1970: of every file and of the image. */
  readonly date: number
}

export interface WrittenImage {
  /** `sha256:...` of its configuration, as `docker images --no-trunc` shows it. */
  readonly id: string
  readonly layers: readonly { readonly name: string; readonly digest: string; readonly bytes: number }[]
}

/** GOARCH, as images and Kubernetes name it. */
const architectures: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' }

/**
 * Writes what `docker load` and `ctr images import` read: https://github.com/moby/docker-image-spec. Same input, same bytes: names are sorted,
 * owners are numbers, and every time is `date`.
 */
export async function writeDockerArchive(file: string, options: ImageOptions): Promise<WrittenImage> {
  const layers = options.layers.map(({ name, entries }) => ({ name, content: tar(entries, options.date) }))
  const written = layers.map(({ name, content }) => ({ name, digest: sha256(content), bytes: content.length }))
  const config = JSON.stringify(configuration(options, written))
  const manifest = [
    { Config: 'config.json', RepoTags: [options.name], Layers: layers.map(({ name }) => `${name}.tar`) },
  ]
  const members = [
    { path: 'manifest.json', mode: 0o644, content: JSON.stringify(manifest) },
    { path: 'config.json', mode: 0o644, content: config },
    ...layers.map(({ name, content }) => ({ path: `${name}.tar`, mode: 0o644, content })),
  ]
  await mkdir(dirname(file), { recursive: true })
  const draft = `${file}.new-${process.pid}`
  try {
    await writeFile(draft, tar(members, options.date))
    await rename(draft, file)
  } finally {
    await rm(draft, { force: true })
  }
  return { id: sha256(config), layers: written }
}

function configuration(options: ImageOptions, layers: WrittenImage['layers']): object {
  const created = new Date(options.date * 1000).toISOString()
  return {
    architecture: imageArchitecture(),
    os: 'linux',
    created,
    config: {
      Env: [`PATH=${options.path}`],
      Entrypoint: options.entrypoint,
      ...(options.labels === undefined ? {} : { Labels: options.labels }),
    },
    rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => digest) },
    history: layers.map(({ name }) => ({ created, created_by: name })),
  }
}

/** @throws on a machine for which no image is made */
export function imageArchitecture(): string {
  const name = architectures[arch()]
  if (name === undefined) throw new Error(`images are made for amd64 and arm64, this is ${arch()}`)
  return name
}

function sha256(content: Uint8Array | string): string {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`
}

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from '../../lab/command.ts'
import { writeDockerArchive } from '../../scripts/image/docker-archive.ts'
import { imageLayers, path } from '../../scripts/image/layers.ts'
import { developmentImage } from '../../scripts/image/manifest.ts'
import { writeOurImage } from '../../scripts/image/our-image.ts'
import { peerProgram } from '../needs.ts'

const root = join(import.meta.dirname, '../..')

/** What flannel's manifest names; here they are made of the programs that the tests have. */
export const flannelImage = 'ghcr.io/flannel-io/flannel:v0.28.9'
export const flannelPluginImage = 'ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3'

/** What `npm run image` writes. */
export async function ourImage(folder: string): Promise<string> {
  const file = join(folder, 'flanneld.tar')
  await writeOurImage(file, { root, name: developmentImage })
  return file
}

/** flannel's two images: its daemon among the same tools as ours, and its CNI plugin with a `cp`. */
export async function flannelImages(folder: string): Promise<readonly string[]> {
  const program = async (place: string, from: string) => ({ path: place, mode: 0o755, content: await readFile(from) })
  const tools = (await imageLayers(root)).filter(({ name }) => name === 'runtime' || name === 'netfilter')
  const busybox = (await run(['sh', '-c', 'command -v busybox'])).stdout.trim()
  const daemon = [
    await program('opt/bin/flanneld', peerProgram('peer:flanneld')),
    await program('opt/bin/install-conf', join(root, 'packaging/image/install-conf.cjs')),
  ]
  const plugin = [await program('flannel', peerProgram('peer:flannel-cni')), await program('bin/cp', busybox)]
  const images = [
    { name: flannelImage, layers: [...tools, { name: 'flannel', entries: daemon }], entrypoint: ['/opt/bin/flanneld'] },
    { name: flannelPluginImage, layers: [{ name: 'plugin', entries: plugin }], entrypoint: ['/bin/cp'] },
  ]
  const files: string[] = []
  for (const [index, image] of images.entries()) {
    const file = join(folder, `flannel-${index}.tar`)
    await writeDockerArchive(file, { ...image, path: `${path}:/bin`, date: 0 })
    files.push(file)
  }
  return files
}

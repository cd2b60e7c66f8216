import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * The notices that the licences of the bundled packages ask us to hand on, each package once, sorted by name.
 * @param inputs esbuild's inputs: paths relative to `root`; what a plugin made (`namespace:path`) belongs to a package already listed
 */
export async function thirdPartyLicenses(root: string, inputs: readonly string[]): Promise<string> {
  const folders = new Set<string>()
  for (const input of inputs) {
    const folder = packageFolder.exec(input)?.[0]
    if (folder !== undefined) folders.add(folder)
  }
  const notices = await Promise.all([...folders].sort().map((folder) => notice(join(root, folder))))
  return notices.join(`\n${'-'.repeat(100)}\n\n`)
}

// The last node_modules wins: a package nested in another one is a package of its own.
const packageFolder = /^(?!.*:).*node_modules\/(?:@[^/]+\/)?[^/]+/

async function notice(folder: string): Promise<string> {
  const about = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'))
  const names = (await readdir(folder)).filter((name) => /^(licen[cs]e|notice|copying)/i.test(name)).sort()
  const texts = await Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')))
  const licence = typeof about.license === 'string' ? about.license : undefined
  if (licence === undefined && texts.length === 0) throw new Error(`${folder} names no licence`)
  return [
    `${about.name} ${about.version}`,
    `Licence: ${licence ?? 'see below'}`,
    '',
    ...texts.map((text) => `${text.trim()}\n`),
  ].join('\n')
}

import { dirname } from 'node:path'
import type { PackageEntry } from '../package/tree.ts'

const BLOCK = 512

/**
 * An archive in POSIX ustar form: https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html. Sorted by name, folders with mode 0755
 * before what is in them, all owned by 0:0 and of the same time: the same input gives the same bytes.
 * @param date seconds since 1970
 */
export function tar(entries: readonly PackageEntry[], date: number): Buffer {
  const blocks: Buffer[] = []
  for (const entry of [...withFolders(entries)].sort((a, b) => (a.path < b.path ? -1 : 1))) {
    blocks.push(header(entry, date))
    if (!('content' in entry)) continue
    const content = Buffer.from(entry.content)
    blocks.push(content, Buffer.alloc(-content.length & (BLOCK - 1)))
  }
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)])
}

type Member = PackageEntry | { readonly path: string; readonly folder: true }

function withFolders(entries: readonly PackageEntry[]): readonly Member[] {
  const folders = new Set<string>()
  for (const { path } of entries)
    for (let folder = dirname(path); folder !== '.'; folder = dirname(folder)) folders.add(`${folder}/`)
  return [...entries, ...[...folders].map((path) => ({ path, folder: true as const }))]
}

function header(member: Member, date: number): Buffer {
  const block = Buffer.alloc(BLOCK)
  const [prefix, name] = split(member.path)
  const text = (value: string, at: number) => block.write(value, at, 'utf8')
  const octal = (value: number, at: number, length: number) =>
    text(`${value.toString(8).padStart(length - 1, '0')}\0`, at)
  const link = 'target' in member
  const size = 'content' in member ? Buffer.byteLength(member.content) : 0
  text(name, 0)
  octal('content' in member ? member.mode : link ? 0o777 : 0o755, 100, 8)
  octal(0, 108, 8)
  octal(0, 116, 8)
  octal(size, 124, 12)
  octal(date, 136, 12)
  text(' '.repeat(8), 148)
  text(link ? '2' : 'content' in member ? '0' : '5', 156)
  if (link) text(fitting(member.target, 100), 157)
  text('ustar\x0000', 257)
  text(prefix, 345)
  const sum = block.reduce((total, byte) => total + byte, 0)
  text(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return block
}

/** The form has room for 155 bytes of folders and 100 of a name. */
function split(path: string): readonly [string, string] {
  if (Buffer.byteLength(path) <= 100) return ['', path]
  const at = path.lastIndexOf('/', path.length - 2)
  return [fitting(path.slice(0, at), 155), fitting(path.slice(at + 1), 100)]
}

function fitting(text: string, bytes: number): string {
  if (Buffer.byteLength(text) > bytes) throw new Error(`${text} is too long for an archive`)
  return text
}

import type { OwnershipScope } from '../../kernel/desired.ts'
import type { JournalEntry } from '../../kernel/kinds/kind.ts'
import {
  entriesOf,
  type JournalEntries,
  NO_ENTRIES,
  originalsOf,
  scopeOf,
  withEntries,
} from '../../kernel/reconciler/journal.ts'
import { addressBits, type Cidr, familyOf, overlaps, parseCidr, prefixLength } from '../../lib/address.ts'
import { ConfigError, messageOf, printable } from '../../lib/errors.ts'
import { JsonFields } from '../../lib/json-fields.ts'
import type { Logger } from '../../lib/log.ts'

/**
 * A file with a part of the journal, in the form of version 0.1: an older version that is started on this state directory finds what
 * it would have written, and what it writes is found by this one.
 */
export interface JournalFile {
  readonly name: string
  /** What is so while it cannot be written; completes "... could not be written: ". */
  readonly effect: string
  holds(entry: JournalEntry): boolean
  /** Of the entries that it holds. */
  text(entries: JournalEntries): string
  /** Undefined: damaged, which is as good as none and goes to the log. Rather too little is ours than too much. */
  read(text: string, log: Logger, path: string): readonly JournalEntry[] | undefined
}

const LOOPBACK_RANGES = ['127.0.0.0/8' as Cidr, '::1/128' as Cidr]

const FOOTPRINT: JournalFile = {
  name: 'footprint.json',
  effect: 'what an earlier configuration has left in the kernel may not be found after a restart',
  holds: ({ kind }) => kind !== 'sysctl',
  text: (entries) => scopeText(scopeOf(entries)),
  read(text, log, path) {
    const onDropped = (device: unknown) => {
      const what = isDeviceName(device) ? 'is none of ours' : 'can be none of any kernel'
      log.warn(`device on record ${what}, not heeded any more`, { device: printable(device) })
    }
    try {
      return entriesOf(parseScope(text, onDropped))
    } catch (cause) {
      log.warn('record of used networks was damaged and begun anew', {
        file: path,
        cause: messageOf(cause),
        effect: 'leftovers of earlier configurations are not found any more',
      })
      return undefined
    }
  },
}

const SYSCTLS: JournalFile = {
  name: 'sysctls.json',
  effect:
    'rp_filter of the external interface stays strict, so packets may be lost while a peer moves from the tunnel to a direct path or back',
  holds: ({ kind }) => kind === 'sysctl',
  text: (entries) => `${JSON.stringify(Object.fromEntries(originalsOf(entries)))}\n`,
  read(text, log) {
    try {
      return parseSysctls(text)
    } catch (cause) {
      log.warn('record of changed sysctls was damaged and begun anew', { cause: messageOf(cause) })
      return undefined
    }
  },
}

export const JOURNAL_FILES: readonly JournalFile[] = [FOOTPRINT, SYSCTLS]

/** What is in these files; `read` gives the text of one, undefined for none. */
export async function readJournal(
  needs: { read: (name: string) => Promise<string | undefined>; log: Logger; path: string },
  onFound: (file: JournalFile, text: string) => void = () => {},
): Promise<JournalEntries> {
  let entries = NO_ENTRIES
  for (const file of JOURNAL_FILES) {
    const text = await needs.read(file.name)
    if (text === undefined) continue
    const found = file.read(text, needs.log, `${needs.path}/${file.name}`)
    if (found === undefined) continue
    entries = withEntries(entries, found)
    onFound(file, text)
  }
  return entries
}

export function scopeText({ devices, fouPorts, addresses, networks }: OwnershipScope): string {
  const ports = fouPorts === undefined || fouPorts.size === 0 ? {} : { fouPorts: [...fouPorts] }
  const kept = addresses === undefined || addresses.size === 0 ? {} : { addresses: [...addresses] }
  return `${JSON.stringify({ version: 1, devices: [...devices], ...ports, ...kept, networks })}\n`
}

/**
 * `onDropped` hears of what is no name of a device of ours: all of these begin with "flannel". Version 0.1 wrote some that are too long,
 * and the rest of its record is true.
 *
 * @throws ConfigError or SyntaxError
 */
export function parseScope(text: string, onDropped: (device: unknown) => void = () => {}): OwnershipScope {
  const fields = new JsonFields(JSON.parse(text), '')
  if (fields.integer('version', { least: 0, most: 1_000_000, fallback: 0 }) !== 1)
    throw new ConfigError('version', 'must be 1')
  const devices = listOf(fields, 'devices').flatMap((value) => {
    if (isDeviceName(value) && value.startsWith('flannel')) return [value]
    onDropped(value)
    return []
  })
  const networks = listOf(fields, 'networks').map((value) => {
    const entry = new JsonFields(value, 'networks')
    const network = parseCidr(entry.string('network') ?? '')
    if (network === undefined) throw new ConfigError(entry.at('network'), 'must be a prefix')
    const least = prefixLength(network)
    const subnetLen = entry.integer('subnetLen', { least, most: addressBits(familyOf(network)), fallback: least })
    return { network, subnetLen }
  })
  const fouPorts = fields.has('fouPorts') ? listOf(fields, 'fouPorts').map(portOf) : []
  const addresses = fields.has('addresses') ? listOf(fields, 'addresses').map(wholeAddress) : []
  return {
    devices: new Set(devices),
    fouPorts: new Set(fouPorts),
    ...(addresses.length > 0 && { addresses: new Set(addresses) }),
    networks,
  }
}

/** @throws ConfigError or SyntaxError */
export function parseSysctls(text: string): readonly JournalEntry[] {
  const document: unknown = JSON.parse(text)
  const fields = new JsonFields(document, '')
  return Object.keys(document as object).map((path) => {
    const value = fields.string(path)
    const isPath =
      /^net\/ipv[46]\/conf\/[^/\s]{1,15}\/\w+$/.test(path) && !path.includes('/../') && !path.includes('/./')
    if (!isPath || value === undefined || !/^\d{1,10}$/.test(value))
      throw new ConfigError(path, 'must be a sysctl and a number', value)
    return { kind: 'sysctl', path, value }
  })
}

function isDeviceName(value: unknown): value is string {
  return typeof value === 'string' && /^[^\s/\0]{1,15}$/.test(value)
}

function portOf(value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= 65535) return value
  throw new ConfigError('fouPorts', 'must be port numbers', value)
}

/** On the loopback device: one address, and none of the device's own. */
function wholeAddress(value: unknown): string {
  const cidr = typeof value === 'string' ? parseCidr(value) : undefined
  const isOwn = cidr === undefined || LOOPBACK_RANGES.some((range) => overlaps(range, cidr))
  if (isOwn || prefixLength(cidr) !== addressBits(familyOf(cidr)))
    throw new ConfigError('addresses', 'must be single addresses', value)
  return cidr
}

function listOf(fields: JsonFields, name: string): readonly unknown[] {
  const value = fields.raw(name)
  if (!Array.isArray(value)) throw new ConfigError(name, 'must be a list', value)
  return value
}

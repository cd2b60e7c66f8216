import { JsonFields } from '../../lib/json-fields.ts'
import type { SubnetOrigin } from '../../subnet/network-config.ts'
import { networkDocument } from '../../subnet/network-document.ts'
import { type Configuration, parseConfiguration } from '../node/configuration.ts'

/** One value of a network configuration: what a daemon uses, and why. */
export interface ConfigValue {
  /** As in `Backend.VNI`. */
  readonly key: string
  readonly value: unknown
  readonly source: 'document' | 'default'
  /** What it would be if the document did not say it; absent: the document must say it. */
  readonly default?: unknown
}

export type ConfigDocument = Readonly<Record<string, unknown>> & {
  readonly Backend: Readonly<Record<string, unknown>>
}

/** A network configuration that says the same with every default written out. */
export function documentOf({
  network,
  backend,
  config,
  subnets,
}: Omit<Configuration, 'origin' | 'warnings'>): ConfigDocument {
  return { ...networkDocument(network, subnets), Backend: { Type: backend.type, ...backend.written(config) } }
}

/** By key, those of `Backend` with its name before them. */
export function flatDocument({ Backend, ...network }: ConfigDocument): ReadonlyMap<string, unknown> {
  const backend = Object.entries(Backend).map(([key, value]) => [`Backend.${key}`, value] as const)
  return new Map([...Object.entries(network), ...backend])
}

/** Tells configurations apart that are not parsed to the same. */
export function parsedKey(configuration: Configuration): string {
  return JSON.stringify(documentOf(configuration))
}

/** What differs, in the words of the document. */
export function differences(before: Configuration, after: Configuration): readonly string[] {
  const left = flatDocument(documentOf(before))
  const right = flatDocument(documentOf(after))
  return [...new Set([...left.keys(), ...right.keys()])]
    .filter((key) => !same(left.get(key), right.get(key)))
    .map((key) => `${key} ${shown(key, left.get(key))} -> ${shown(key, right.get(key))}`)
}

function shown(key: string, value: unknown): string {
  if (value === undefined) return 'absent'
  if (/psk|password/i.test(key)) return '[redacted]'
  return typeof value === 'string' ? value : JSON.stringify(value).slice(0, 80)
}

/**
 * Every value of a configuration. What is a default is found out by the parser itself, from the document without the key.
 * @throws ConfigError naming path, value and what was expected
 */
export function configValues(text: string, origin: string, subnets?: SubnetOrigin): readonly ConfigValue[] {
  const valuesOf = (document: string) => flatDocument(documentOf(parseConfiguration(document, origin, subnets)))
  const document: unknown = JSON.parse(text)
  return Array.from(valuesOf(text), ([key, value]): ConfigValue => {
    const path = key.split('.')
    const given = rawAt(document, path)
    const fallback = fallbackOf(() => valuesOf(JSON.stringify(without(document, path))), key)
    // 0, say, where 0 stands for the default.
    const isSaid = given !== undefined && (same(given, value) || !same(fallback, value))
    return { key, value, source: isSaid ? 'document' : 'default', ...(fallback !== undefined && { default: fallback }) }
  })
}

function fallbackOf(values: () => ReadonlyMap<string, unknown>, key: string): unknown {
  try {
    return values().get(key)
  } catch {
    // The document is none without this key.
    return undefined
  }
}

function rawAt(document: unknown, [key = '', ...below]: readonly string[]): unknown {
  if (typeof document !== 'object' || document === null) return undefined
  const value = new JsonFields(document, '').raw(key)
  return below.length === 0 ? value : rawAt(value, below)
}

function without(document: unknown, [key = '', ...below]: readonly string[]): unknown {
  if (typeof document !== 'object' || document === null) return document
  const folded = key.toLowerCase()
  return Object.fromEntries(
    Object.entries(document).flatMap(([name, value]): [string, unknown][] => {
      if (name.toLowerCase() !== folded) return [[name, value]]
      return below.length === 0 ? [] : [[name, without(value, below)]]
    }),
  )
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

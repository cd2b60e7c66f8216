import type { Family } from '../../lib/address.ts'
import { ConfigError, messageOf } from '../../lib/errors.ts'
import { JsonFields } from '../../lib/json-fields.ts'
import type { Logger } from '../../lib/log.ts'
import { type Configuration, deviceKey, isDirect, parseConfiguration, wayKey } from '../node/configuration.ts'
import { WAYS_FILE } from '../state/state-dir.ts'
import type { SwitchState } from './switch.ts'

/** What a start must know of the ways of an earlier run. */
export interface WaysRecord {
  readonly state: SwitchState
  /** By `wayKey`, those that the state holds. */
  readonly configurations: ReadonlyMap<string, Configuration>
  /** Whose place the target has taken, until this host has had the target. */
  readonly instead?: Configuration
}

/** `configurations`: at least those that the state holds. */
export function recordOf(state: SwitchState, configurations: WaysRecord['configurations'] = new Map()): WaysRecord {
  const isHeld = (key: string) => state.held.some((way) => way.key === key)
  return { state, configurations: new Map([...configurations].filter(([key]) => isHeld(key))) }
}

/** In the operator's words: with what tells it from others of its type, if there are such. */
export function nameOfWay(configurations: WaysRecord['configurations'] | undefined, key: string): string {
  const configuration = configurations?.get(key)
  if (configuration === undefined) return key
  const { backend, config } = configuration
  const name = nameOfType(configuration)
  const ofType = [...(configurations?.values() ?? [])].filter((other) => other.backend.type === backend.type)
  const isPlain = new Set(ofType.map(deviceKey)).size < 2
  return isPlain ? name : `${name} ${JSON.stringify(backend.lasting?.(config) ?? config)}`
}

function nameOfType(configuration: Configuration): string {
  const { type } = configuration.backend
  return isDirect(configuration) ? `${type} with DirectRouting` : type
}

export function waysText({ state, configurations, instead }: WaysRecord): string {
  const numbers = new Map(state.held.map(({ key }, number) => [key, number]))
  const held = state.held.map(({ key, isAccepted, isSent, isUntold }) => {
    const source = sourceOf(configurations.get(key) ?? { text: '', origin: '', subnets: 'leased' })
    return { ...source, accepts: isAccepted, sends: isSent, ...(isUntold && { untold: true }) }
  })
  const moved = Array.from(state.pins, ([id, { node, ways }]) => [
    id,
    { node, ways: [...ways].map(([family, key]) => [family, numbers.get(key)]) },
  ])
  const record = { held, target: numbers.get(state.target), moved: Object.fromEntries(moved) }
  const rare = { ...(state.isForced && { forced: true }), ...(instead && { instead: sourceOf(instead) }) }
  return `${JSON.stringify({ ...record, ...rare })}\n`
}

function sourceOf({ text, origin, subnets }: Pick<Configuration, 'text' | 'origin' | 'subnets'>) {
  return { config: text, origin, ...(subnets === 'assigned' && { subnets }) }
}

function configurationOf(source: JsonFields): Configuration {
  const subnets = source.string('subnets') === 'assigned' ? 'assigned' : 'leased'
  return parseConfiguration(source.string('config') ?? '', source.string('origin') ?? '', subnets)
}

/** Undefined: there is none that can be used; what is damaged goes to the log. */
export function readWays(text: string | undefined, log: Logger): WaysRecord | undefined {
  if (text === undefined) return undefined
  try {
    return parse(text)
  } catch (cause) {
    if (!(cause instanceof ConfigError) && !(cause instanceof SyntaxError)) throw cause
    log.warn('record of the backend in use was damaged and begun anew', { file: WAYS_FILE, cause: messageOf(cause) })
    return undefined
  }
}

/** @throws ConfigError or SyntaxError */
function parse(text: string): WaysRecord | undefined {
  const fields = new JsonFields(JSON.parse(text), '')
  const list = fields.raw('held')
  if (!Array.isArray(list) || list.length === 0) throw new SyntaxError('it names no way')
  const configurations = new Map<string, Configuration>()
  const held = list.map((item, number) => {
    const way = new JsonFields(item, `held[${number}]`)
    const configuration = configurationOf(way)
    const key = wayKey(configuration)
    configurations.set(key, configuration)
    const said = { key, isAccepted: way.boolean('accepts', false), isSent: way.boolean('sends', false) }
    return way.boolean('untold', false) ? { ...said, isUntold: true as const } : said
  })
  const keys = held.map(({ key }) => key)
  const target = keys[fields.integer('target', { least: 0, most: keys.length - 1, fallback: keys.length - 1 })]
  if (target === undefined || new Set(keys).size < keys.length) throw new SyntaxError('a way stands there twice')
  const isForced = fields.boolean('forced', false) ? { isForced: true as const } : {}
  const state = { held, target, pins: pinsOf(fields.raw('moved') ?? {}, keys), ...isForced }
  const instead = fields.raw('instead')
  return {
    state,
    configurations,
    ...(instead !== undefined && { instead: configurationOf(new JsonFields(instead, 'instead')) }),
  }
}

function pinsOf(moved: unknown, keys: readonly string[]): SwitchState['pins'] {
  if (typeof moved !== 'object' || moved === null) throw new SyntaxError('it does not say who was moved')
  return new Map(
    Object.entries(moved).map(([id, pin]: [string, unknown]) => {
      const fields = new JsonFields(pin, `moved.${id}`)
      const ways = fields.raw('ways')
      const pairs = (Array.isArray(ways) ? ways : []).flatMap((pair: unknown): [Family, string][] => {
        const [family, number] = Array.isArray(pair) ? pair : []
        const key = keys[number]
        return (family === 4 || family === 6) && key !== undefined ? [[family, key]] : []
      })
      return [id, { node: fields.string('node') ?? '', ways: new Map(pairs) }]
    }),
  )
}

import type { HostFacts, WayDevices } from '../../backends/backend.ts'
import type { LinkDriver } from '../../kernel/objects.ts'
import type { Family } from '../../lib/address.ts'
import { ConfigError } from '../../lib/errors.ts'
import { type Configuration, deviceKey, takesPlaceOf } from './configuration.ts'

/** What stands on this host now. */
export interface Standing {
  /** Tunnel devices, whoever made them. */
  readonly devices: HostFacts['devices']
  /** Names of all devices that this instance has not made, as far as it is on record. */
  readonly others: ReadonlySet<string>
}

interface Chosen {
  /** Among those that the backend knows. */
  readonly place: number
  readonly devices: WayDevices
  readonly configuration: Configuration
}

/**
 * Which devices each way has, under which names: those that stand already, else the best ones beside which the other ways have theirs. It
 * keeps them as long as it is wanted.
 */
export class DeviceChoice {
  /** By `deviceKey`. */
  readonly #chosen = new Map<string, Chosen>()

  /** Of a way that is not among the wanted ones nothing is kept. */
  choose(wanted: readonly Configuration[], standing: Standing): void {
    const keys = new Set(wanted.map(deviceKey))
    const left: Chosen[] = []
    for (const [key, chosen] of this.#chosen) {
      if (keys.has(key)) continue
      this.#chosen.delete(key)
      left.push(chosen)
    }
    const chooseFor = (each: Configuration, isFit: (devices: WayDevices) => boolean = () => true) => {
      if (this.#chosen.has(deviceKey(each))) return
      const others = wanted.flatMap((other) => this.of(other) ?? [])
      const all = alternativesOf(each)
      const place = all.findIndex(
        (devices, index) =>
          (index === 0 || areFree(each, devices, standing)) && isFit(devices) && isBeside(devices, others),
      )
      const devices = all[place]
      if (devices !== undefined) this.#chosen.set(deviceKey(each), { place, devices, configuration: each })
    }
    // First those that stand, or one that is new would take the name of another one's. What takes the place of a way does not wait for the
    // end of its devices.
    const isFree = (each: Configuration, devices: WayDevices) =>
      isBeside(
        devices,
        left.flatMap((one) => (takesPlaceOf(each, one.configuration) ? [one.devices] : [])),
      )
    for (const each of wanted) chooseFor(each, (devices) => stand(each, devices, standing) && isFree(each, devices))
    for (const each of wanted) chooseFor(each, (devices) => isFree(each, devices))
    for (const each of wanted) chooseFor(each)
  }

  /** Those of some families, or of all. Undefined: there are none beside those of the other ways. */
  of(configuration: Configuration, families?: readonly Family[]): WayDevices | undefined {
    const chosen = this.#chosen.get(deviceKey(configuration))
    // Of a network with more families there are more of them.
    const devices = chosen && alternativesOf(configuration)[chosen.place]
    if (devices === undefined || families === undefined) return devices
    return { ...devices, names: new Map([...devices.names].filter(([family]) => families.includes(family))) }
  }

  /** @throws ConfigError when there are none */
  needed(configuration: Configuration, families: readonly Family[]): WayDevices {
    const devices = this.of(configuration, families)
    if (devices !== undefined) return devices
    const names = alternativesOf(configuration).flatMap((each) => [...each.names.values()])
    const expected =
      'has no device beside those of earlier configurations, which have not ended yet, and of other programs with such names'
    throw new ConfigError('Backend', expected, names.join(', '))
  }
}

function alternativesOf({ backend, config, network }: Configuration): readonly WayDevices[] {
  return backend.devices(config, network)
}

function isBeside(devices: WayDevices, others: readonly WayDevices[]): boolean {
  return !others.some((other) => excludeEachOther(devices, other))
}

function excludeEachOther(some: WayDevices, others: WayDevices): boolean {
  if (some.ipInIp !== undefined && some.ipInIp === others.ipInIp) return true
  const names = new Set(some.names.values())
  return [...others.names.values()].some((name) => names.has(name))
}

function stand(way: Configuration, { names }: WayDevices, standing: Standing): boolean {
  return [...names.values()].some((name) => madeBy(way, name, standing) !== undefined)
}

/**
 * Whether none of them is somebody else's. flannel's names are taken over as flannel takes them; by a second one nobody but this instance
 * is known. The kernel has no second VXLAN device with one VNI and port, so that one without a record is the only one to be had.
 */
function areFree(way: Configuration, { names }: WayDevices, standing: Standing): boolean {
  return [...names.values()].every(
    (name) => !standing.others.has(name) || madeBy(way, name, standing)?.type === 'vxlan',
  )
}

/** The driver of a device that may have been made for the way; undefined: there is none of this name. */
function madeBy({ backend, config }: Configuration, name: string, { devices }: Standing): LinkDriver | undefined {
  const driver = devices.get(name)?.driver
  return driver !== undefined && backend.mayHaveMade?.(config, driver) === true ? driver : undefined
}

import type { HostFacts, WayDevices } from '../../backends/backend.ts'
import type { Family } from '../../lib/address.ts'
import { ConfigError } from '../../lib/errors.ts'
import { type Configuration, wayKey } from './configuration.ts'

type Standing = HostFacts['devices']

/**
 * Which devices each way has, under which names: those that stand already, else the best ones beside which the other ways have theirs. It
 * keeps them as long as it is wanted.
 */
export class DeviceChoice {
  /** By `wayKey`: the place among those that the backend knows. */
  readonly #chosen = new Map<string, number>()

  /** `standing`: tunnel devices of this host. Of a way that is not among the wanted ones nothing is kept. */
  choose(wanted: readonly Configuration[], standing: Standing): void {
    const keys = new Set(wanted.map(wayKey))
    for (const key of this.#chosen.keys()) if (!keys.has(key)) this.#chosen.delete(key)
    const chooseFor = (each: Configuration, isFit: (devices: WayDevices) => boolean) => {
      if (this.#chosen.has(wayKey(each))) return
      const others = wanted.flatMap((other) => this.of(other) ?? [])
      const place = alternativesOf(each).findIndex(
        (devices) => isFit(devices) && !others.some((other) => excludeEachOther(devices, other)),
      )
      if (place >= 0) this.#chosen.set(wayKey(each), place)
    }
    // First those that stand, or one that is new would take the name of another one's.
    for (const each of wanted) chooseFor(each, (devices) => stand(each, devices, standing))
    for (const each of wanted) chooseFor(each, () => true)
  }

  /** Those of some families, or of all. Undefined: there are none beside those of the other ways. */
  of(configuration: Configuration, families?: readonly Family[]): WayDevices | undefined {
    const place = this.#chosen.get(wayKey(configuration))
    const devices = place === undefined ? undefined : alternativesOf(configuration)[place]
    if (devices === undefined || families === undefined) return devices
    return { ...devices, names: new Map([...devices.names].filter(([family]) => families.includes(family))) }
  }

  /** @throws ConfigError when there are none */
  needed(configuration: Configuration, families: readonly Family[]): WayDevices {
    const devices = this.of(configuration, families)
    if (devices !== undefined) return devices
    const names = alternativesOf(configuration).flatMap((each) => [...each.names.values()])
    const expected = 'has no device that could be beside those of earlier configurations, which have not ended yet'
    throw new ConfigError('Backend', expected, names.join(', '))
  }
}

function alternativesOf({ backend, config, network }: Configuration): readonly WayDevices[] {
  return backend.devices(config, network)
}

function excludeEachOther(some: WayDevices, others: WayDevices): boolean {
  if (some.ipInIp !== undefined && some.ipInIp === others.ipInIp) return true
  const names = new Set(some.names.values())
  return [...others.names.values()].some((name) => names.has(name))
}

function stand({ backend, config }: Configuration, { names }: WayDevices, standing: Standing): boolean {
  return [...names.values()].some((name) => {
    const device = standing.get(name)
    return device !== undefined && (backend.mayHaveMade?.(config, device.driver) ?? false)
  })
}

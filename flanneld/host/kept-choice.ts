import type { ExternalInterface } from '../../backends/backend.ts'
import type { IpAddr } from '../../lib/address.ts'
import { type Candidate, leadsOut } from './candidates.ts'
import type { NoInterfaceError } from './external-interface.ts'

/** A better choice is taken when it has been better for so long: routes flap, networks are set up step by step. */
export const LASTING_MS = 10_000
/** For so long an address may be away before another is taken: a renewed DHCP lease is put back within this time. */
export const AWAY_MS = 250

/** What the options say of the host as it is now. */
export interface Look {
  /** Every interface of the host, those that may not be chosen included. */
  readonly interfaces: readonly Candidate[]
  /** The choice where what is in use wins over what fits equally well. */
  readonly fresh: ExternalInterface | NoInterfaceError
  /** The choice of a host on which nothing is in use. */
  readonly unbiased: ExternalInterface | NoInterfaceError
  /** On `Clock.now()`. */
  readonly now: number
}

export interface Kept {
  /** In use. */
  readonly external: ExternalInterface
  /** What the options prefer to what is in use: `since` when, and where they do not any more, `until` when. */
  readonly rival?: { readonly external: ExternalInterface; readonly since: number; readonly until?: number } | undefined
  /** An address in use is not on its interface any more. */
  readonly awaySince?: number | undefined
  /** Why nothing can be sent by it now. */
  readonly fault?: string | undefined
  /** Why it is not used in a family that is enabled. */
  readonly lacks?: string | undefined
  /** What would be chosen if nothing were in use, and why. */
  readonly notice?: string | undefined
  /** When to look again though nothing has happened. */
  readonly dueAt?: number | undefined
}

/** Pure. What works stays: see `LASTING_MS` and `AWAY_MS` for when another choice is taken. */
export function keepOrMove(before: Kept, look: Look): Kept {
  const { fresh, interfaces } = look
  const external = asItIsNow(before.external, interfaces)
  const target = fresh instanceof Error || !mayTake(fresh, external, interfaces) ? undefined : fresh
  if (target !== undefined && isSameChoice(target, external)) return stay(before, target, undefined, look)
  const missing = missingOf(external, interfaces)
  // One of two addresses is no reason to leave the interface that has the other.
  const isLost = missing.length === external.addresses.size || target === undefined || target.index === external.index
  if (missing.length > 0 && isLost) return replace({ ...before, external }, target, missing, look)
  return stay(before, external, target, look)
}

/** Unless a rival has lasted. */
function stay(before: Kept, external: ExternalInterface, target: ExternalInterface | undefined, look: Look): Kept {
  const { interfaces, unbiased, now } = look
  const rival = rivalOf(before, target, now)
  if (rival !== undefined && rival.until === undefined && now - rival.since >= LASTING_MS) {
    return { external: rival.external }
  }
  const isDown = interfaces.some(({ index, up }) => index === external.index && !up)
  return {
    external,
    rival,
    fault: isDown ? `${external.name} is down` : undefined,
    notice: noticeOf(external, rival?.external ?? unbiased),
    dueAt: rival && (rival.until ?? rival.since) + LASTING_MS,
  }
}

/** What was in use is gone. */
function replace(
  before: Kept,
  target: ExternalInterface | undefined,
  missing: readonly IpAddr[],
  { fresh, now }: Look,
): Kept {
  const { external } = before
  const awaySince = before.awaySince ?? now
  const isLong = now - awaySince >= AWAY_MS
  if (target !== undefined && (isLong || addressesOf(target) === addressesOf(external))) return { external: target }
  if (!isLong) return { external, awaySince, dueAt: awaySince + AWAY_MS }
  const why = fresh instanceof Error ? fresh.message : `${nameOf(fresh)} leads to no other host`
  return { external, awaySince, fault: `${missing.join(' ')} is not on ${external.name} any more, and ${why}` }
}

/** A rival that comes and goes stays in sight, so that a flapping route is told once; its time begins anew each time. */
function rivalOf({ rival }: Kept, target: ExternalInterface | undefined, now: number): Kept['rival'] {
  if (target !== undefined) {
    const lasts = rival !== undefined && rival.until === undefined && isSameChoice(rival.external, target)
    return { external: target, since: lasts ? rival.since : now }
  }
  if (rival === undefined) return undefined
  const until = rival.until ?? now
  return now - until >= LASTING_MS ? undefined : { ...rival, until }
}

function noticeOf(external: ExternalInterface, other: ExternalInterface | NoInterfaceError): string | undefined {
  if (other instanceof Error) return `${nameOf(external)} stays in use, although now ${other.message}`
  if (isSameChoice(other, external)) return undefined
  return `${nameOf(external)} stays in use, although now ${nameOf(other)} would be chosen: ${other.reason}`
}

function nameOf(external: ExternalInterface): string {
  return `${external.name} (${addressesOf(external)})`
}

function addressesOf({ addresses }: ExternalInterface): string {
  return [...addresses.values()].join(' ')
}

function missingOf({ index, addresses }: ExternalInterface, interfaces: readonly Candidate[]): readonly IpAddr[] {
  const device = interfaces.find((each) => each.index === index)
  const present = new Set(device?.addresses.flatMap(({ address, duplicate }) => (duplicate ? [] : [address])))
  return [...addresses.values()].filter((address) => !present.has(address))
}

/** Its name and its MTU may change while it is the same. */
function asItIsNow(external: ExternalInterface, interfaces: readonly Candidate[]): ExternalInterface {
  const device = interfaces.find(({ index }) => index === external.index)
  return device === undefined ? external : { ...external, name: device.name, mtu: device.mtu }
}

/**
 * Whether a running node may move there: not to an interface that no packet to other hosts leaves by now, however well it
 * fits, unless it is the one in use, holds the address in use, or has the one in use as its port.
 */
function mayTake(target: ExternalInterface, current: ExternalInterface, interfaces: readonly Candidate[]): boolean {
  const device = interfaces.find(({ index }) => index === target.index)
  if (device === undefined || target.index === current.index) return true
  const port = interfaces.find(({ index }) => index === current.index)
  const addresses = new Set(current.addresses.values())
  if (port?.master === device.index || [...target.addresses.values()].some((address) => addresses.has(address))) {
    return true
  }
  return device.running && leadsOut(device, interfaces)
}

/** The same device with the same addresses, whatever it is called. */
export function isSameChoice(a: ExternalInterface, b: ExternalInterface): boolean {
  return a.index === b.index && addressesOf(a) === addressesOf(b)
}

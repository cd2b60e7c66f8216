import type { InterfaceOptions } from '../../flanneld/host/external-interface.ts'
import { InterfaceChoice } from '../../flanneld/host/interface-choice.ts'
import { compileGoRegexp } from '../../flanneld/options/go-regexp.ts'
import type { HostAddress, HostInterface } from '../../kernel/host.ts'
import type { Cidr, Family, IpAddr } from '../../lib/address.ts'
import { VirtualClock } from '../fakes/clock.ts'
import { address, device } from './host-fixtures.ts'

export interface HostNow {
  readonly links: readonly HostInterface[]
  /** Devices of the default routes, the best first. */
  readonly route?: string | readonly string[]
  /** Where `--iface-can-reach` leads. */
  readonly reach?: { readonly device: string; readonly source: string }
}

export interface Setting {
  readonly iface?: readonly string[]
  readonly regex?: readonly string[]
  readonly canReach?: string
  readonly publicIp?: string
  readonly families?: readonly Family[] | (() => readonly Family[])
  readonly lastFamilies?: readonly Family[]
  readonly previous?: Partial<Record<Family, string>>
  readonly overlay?: readonly string[]
}

export const eth0 = (...addresses: (string | HostAddress)[]) => device('eth0', 2, addresses)
export const eth1 = (...addresses: (string | HostAddress)[]) => device('eth1', 3, addresses)
export const docker0 = device('docker0', 8, ['172.17.0.1'], { kind: 'bridge' })

export function open(setting: Setting, clock: VirtualClock) {
  let host: HostNow = { links: [] }
  const interfaceOptions = {
    iface: setting.iface ?? [],
    ifaceRegex: (setting.regex ?? []).map(compileGoRegexp),
    ifaceCanReach: setting.canReach,
    publicIp: setting.publicIp,
    publicIpv6: undefined,
  } as InterfaceOptions
  const kernel = {
    defaultRouteDevices: async () => (host.route === undefined ? [] : [host.route].flat()),
    routeTo: async () => host.reach && { device: host.reach.device, source: host.reach.source as IpAddr },
  }
  const previous = new Map(
    Object.entries(setting.previous ?? {}).map(([family, text]) => [Number(family) as Family, text as IpAddr]),
  )
  const choice = new InterfaceChoice(
    {
      kernel,
      clock,
      overlay: () => (setting.overlay ?? []) as Cidr[],
      families: () => (typeof setting.families === 'function' ? setting.families() : (setting.families ?? [4])),
      devices: () => new Set(['flannel.1', 'mine']),
      lastFamilies: () => setting.lastFamilies ?? [],
      previous: () => previous,
    },
    { interfaceOptions },
  )
  return async (now: HostNow) => {
    host = now
    return await choice.look(now.links)
  }
}

/** What is in use after each step; between two steps it is looked again whenever that is due. */
export async function history(setting: Setting, steps: readonly (readonly [ms: number, host: HostNow])[]) {
  const clock = new VirtualClock()
  const look = open(setting, clock)
  const told: string[] = []
  let host: HostNow = { links: [] }
  let kept: Awaited<ReturnType<typeof look>> | undefined
  for (const [ms, next] of steps) {
    const end = clock.now() + ms
    while (kept?.dueAt !== undefined && kept.dueAt < end) {
      await clock.advance(Math.max(1, kept.dueAt - clock.now()))
      kept = await look(host)
    }
    await clock.advance(Math.max(0, end - clock.now()))
    host = next
    kept = await look(host)
    const { name, addresses } = kept.external
    told.push(
      [name, ...addresses.values(), ...(kept.fault ? ['LOST'] : []), ...(kept.notice ? ['KEPT'] : [])].join(' '),
    )
  }
  return { told, kept }
}

export const A = '10.0.0.5'
export const B = '10.0.0.9'
export const both = (route: string): HostNow => ({ links: [eth0(A), eth1('10.1.0.5')], route })
export const alone = (...addresses: (string | HostAddress)[]): HostNow => ({
  links: [eth0(...addresses)],
  route: 'eth0',
})
export const dhcp = address(A, { permanent: false })

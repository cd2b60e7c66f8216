import type { Family, MacAddr } from '../../lib/address.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import type { PeerPath } from '../../subnet/types.ts'
import type { Backend, PrepareContext, Prepared, WayDevices } from '../backend.ts'
import { checkVxlanConfig, KERNEL_PORT, parseVxlanConfig, type VxlanConfig, writtenVxlan } from './config.ts'
import { fitsVni, planVxlan, planVxlanPeer, type VtepIdentity } from './plan.ts'
import { decodeVtep, encodeVtep, randomMac, vtepDevices } from './vtep.ts'

export const vxlan: Backend<VxlanConfig, VtepIdentity> = {
  type: 'vxlan',
  wireType: 'vxlan',
  parseConfig: parseVxlanConfig,
  written: writtenVxlan,
  check: (config, network) => checkVxlanConfig(config, network.families.keys()),
  lasting: ({ vni, port, gbp }) => ({ vni, port, gbp }),
  isDirect: ({ directRouting }) => directRouting,
  // Source: vxlan_find_sock of drivers/net/vxlan/vxlan_core.c, which takes the flags of a socket for a part of its address.
  beside: (one, other) =>
    one.port === other.port && one.gbp !== other.gbp
      ? `GBP is a property of the UDP port ${one.port}, so it changes together with Backend.Port only`
      : undefined,
  prepare: async (config, context) => prepareVtep(config, context),
  local: planVxlan,
  peer: planVxlanPeer,
  fits: fitsVni,
  ownPort: ({ port }) => (port === KERNEL_PORT ? undefined : port),
  devices: vxlanDevices,
  mayHaveMade: ({ vni, port }, driver) => driver.type === 'vxlan' && driver.vni === vni && driver.port === port,
  reach: (config) => (config.directRouting ? 'probe' : 'unused'),
}

function vxlanDevices({ vni }: VxlanConfig, { families }: NetworkConfig): readonly [WayDevices, ...WayDevices[]] {
  const named = (place: 0 | 1 | 2): WayDevices => ({
    names: new Map(Array.from(families.keys(), (family) => [family, vtepDevices(family, vni)[place]])),
  })
  return [named(0), named(1), named(2)]
}

function prepareVtep(config: VxlanConfig, context: PrepareContext): Prepared<VtepIdentity> {
  const identity = new Map<Family, MacAddr>()
  const data = new Map<Family, unknown>()
  for (const family of context.network.families.keys()) {
    const mac = saidMac(context.made, family) ?? adoptedMac(context, family) ?? randomMac(context.randomBytes)
    identity.set(family, mac)
    data.set(family, encodeVtep({ vni: config.vni, mac }))
  }
  return { identity, path: { backend: 'vxlan', data } }
}

/** Peers know the MAC: a living device's is kept, else the one our lease already says. */
function adoptedMac({ facts, devices, previous }: PrepareContext, family: Family): MacAddr | undefined {
  const living = facts.devices.get(devices.names.get(family) ?? '')
  // Somebody else's bridge of our name lends us nothing.
  if (living?.driver.type === 'vxlan' && living.mac !== undefined) return living.mac
  return saidMac(previous, family)
}

function saidMac(path: PeerPath | undefined, family: Family): MacAddr | undefined {
  if (path?.backend !== 'vxlan') return undefined
  try {
    return decodeVtep(path.data.get(family), 'BackendData').mac
  } catch {
    // An unreadable lease of our own is no loss: a new MAC is published with it.
    return undefined
  }
}

import type { Family, MacAddr } from '../../lib/address.ts'
import type { PeerPath } from '../../subnet/types.ts'
import type { Backend, PrepareContext, Prepared } from '../backend.ts'
import { checkVxlanConfig, parseVxlanConfig, type VxlanConfig, writtenVxlan } from './config.ts'
import { fitsVni, planVxlan, planVxlanPeer, type VtepIdentity } from './plan.ts'
import { decodeVtep, encodeVtep, randomMac, vtepDevice } from './vtep.ts'

export const vxlan: Backend<VxlanConfig, VtepIdentity> = {
  type: 'vxlan',
  wireType: 'vxlan',
  parseConfig: parseVxlanConfig,
  written: writtenVxlan,
  check: (config, network) => checkVxlanConfig(config, network.families.keys()),
  lasting: ({ vni, port, gbp }) => ({ vni, port, gbp }),
  // Source: vxlan_find_sock of drivers/net/vxlan/vxlan_core.c, which takes the flags of a socket for a part of its address.
  beside: (one, other) =>
    one.port === other.port && one.gbp !== other.gbp
      ? `GBP is a property of the UDP port ${one.port}, so it changes together with Backend.Port only`
      : undefined,
  prepare: async (config, context) => prepareVtep(config, context),
  local: planVxlan,
  peer: planVxlanPeer,
  fits: fitsVni,
  devices: (config, network) => [...network.families.keys()].map((family) => vtepDevice(family, config.vni)),
  reach: (config) => (config.directRouting ? 'probe' : 'unused'),
}

function prepareVtep(config: VxlanConfig, context: PrepareContext): Prepared<VtepIdentity> {
  const identity = new Map<Family, MacAddr>()
  const data = new Map<Family, unknown>()
  for (const family of context.network.families.keys()) {
    const mac = saidMac(context.made, family) ?? adoptedMac(config, context, family) ?? randomMac(context.randomBytes)
    identity.set(family, mac)
    data.set(family, encodeVtep({ vni: config.vni, mac }))
  }
  return { identity, path: { backend: 'vxlan', data } }
}

/** Peers know the MAC: a living device's is kept, else the one our lease already says. */
function adoptedMac(config: VxlanConfig, context: PrepareContext, family: Family): MacAddr | undefined {
  const living = context.facts.deviceMacs.get(vtepDevice(family, config.vni))
  if (living !== undefined) return living
  return saidMac(context.previous, family)
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

import { ConfigError } from '../../lib/errors.ts'
import type { Backend } from '../backend.ts'
import { parseUdpConfig, type UdpConfig } from './config.ts'
import { planUdp, planUdpPeer, UDP_DEVICE, type UdpIdentity } from './plan.ts'
import { ProxyTables } from './proxy-tables.ts'

/** A lease of it says nothing: flannel's daemon takes every lease without a type for one of udp. */
export const udp: Backend<UdpConfig, UdpIdentity> = {
  type: 'udp',
  wireType: '',
  families: [4],
  parseConfig: parseUdpConfig,
  written: ({ port, engine }) => ({ Port: port, Engine: engine }),
  prepare: async (config, context) => ({
    identity: { engine: await chooseEngine(config, context.hasFou) },
    path: { backend: '', data: new Map() },
  }),
  local: planUdp,
  peer: planUdpPeer,
  devices: () => [UDP_DEVICE],
  fouPorts: ({ port }) => [port],
  tables: (ports) => new ProxyTables(ports),
  reach: () => 'unused',
}

/** Found out by asking the kernel; nothing loads its module by itself. */
async function chooseEngine({ engine }: UdpConfig, hasFou: () => Promise<boolean>): Promise<UdpIdentity['engine']> {
  if (engine !== 'userspace' && (await hasFou())) return 'kernel'
  if (engine === 'kernel') {
    const remedy = "load it on the host with 'modprobe fou', or choose another engine"
    throw new ConfigError('Backend.Engine', `needs the kernel module fou: ${remedy}`, engine)
  }
  return 'userspace'
}

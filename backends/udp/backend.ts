import { ConfigError } from '../../lib/errors.ts'
import type { Backend } from '../backend.ts'
import { FLANNEL_PORT, parseUdpConfig, type UdpConfig } from './config.ts'
import { planUdp, planUdpPeer, type UdpIdentity, udpDevices } from './plan.ts'
import { ProxyTables } from './proxy-tables.ts'

/** A lease of it has no type: flannel's daemon takes every one without for one of udp. */
export const udp: Backend<UdpConfig, UdpIdentity> = {
  type: 'udp',
  wireType: '',
  families: [4],
  parseConfig: parseUdpConfig,
  written: ({ port, engine }) => ({ Port: port, Engine: engine }),
  // Each wants the port for itself, and packets are the same.
  takesPlaceOf: (one, other) => one.port === other.port,
  prepare: async (config, context) => ({
    identity: { engine: await chooseEngine(config, context.hasFou) },
    path: { backend: '', data: new Map() },
  }),
  local: planUdp,
  peer: planUdpPeer,
  ownPort: ({ port }) => (port === FLANNEL_PORT ? undefined : port),
  devices: udpDevices,
  mayHaveMade: ({ port }, driver) =>
    driver.type === 'tun' ? driver.persistent : driver.type === 'ipip' && driver.encapsulation?.port === port,
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

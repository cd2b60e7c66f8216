import { ConfigError } from '../../lib/errors.ts'
import type { Backend } from '../backend.ts'
import { parseUdpConfig, type UdpConfig } from './config.ts'
import { planUdp, UDP_DEVICE, type UdpIdentity } from './plan.ts'

/** A lease of it says nothing: flannel's daemon takes every lease without a type for one of udp. */
export const udp: Backend<UdpConfig, UdpIdentity> = {
  type: 'udp',
  wireType: '',
  families: [4],
  parseConfig: parseUdpConfig,
  prepare: async (config, context) => ({
    identity: { engine: await chooseEngine(config, context.hasFou) },
    path: { backend: '', data: new Map() },
  }),
  plan: planUdp,
  devices: () => [UDP_DEVICE],
  fouPorts: ({ port }) => [port],
  reach: () => 'unused',
}

const LOAD = "load the kernel module fou on the host with 'modprobe fou'"

/** Found out by asking the kernel; nothing loads its module by itself. */
async function chooseEngine({ engine }: UdpConfig, hasFou: () => Promise<boolean>): Promise<UdpIdentity['engine']> {
  if (engine !== 'userspace' && (await hasFou())) return 'kernel'
  if (engine === 'kernel') {
    throw new ConfigError('Backend.Engine', `needs the kernel module fou: ${LOAD}, or choose another engine`, engine)
  }
  const instead = engine === 'auto' ? `; ${LOAD} for the engine kernel` : ''
  throw new ConfigError('Backend.Engine', `the engine userspace is not available yet${instead}`, engine)
}

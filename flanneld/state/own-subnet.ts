import { type Cidr, contains, type Family, parseCidr } from '../../lib/address.ts'
import { messageOf } from '../../lib/errors.ts'
import { JsonFields } from '../../lib/json-fields.ts'
import type { Source } from '../../lib/latest.ts'
import type { Logger } from '../../lib/log.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import type { LeaseState } from '../leases/lease-keeper.ts'
import type { StateFiles } from './state-files.ts'

const FILE = 'own-subnet.json'

/** A subnet that this node has leased, in the network that the configuration had then. */
interface OwnSubnet {
  readonly network: Cidr
  readonly subnet: Cidr
}

/**
 * The subnets that this node leased last, in this network. Running containers have their addresses, and after two days off neither
 * the lease nor `/run` knows them any more. A damaged file is as good as none.
 */
export async function lastSubnets(
  { files, log }: { files: Pick<StateFiles, 'path' | 'read'>; log: Logger },
  { families }: NetworkConfig,
): Promise<ReadonlyMap<Family, Cidr>> {
  const subnets = new Map<Family, Cidr>()
  try {
    for (const { network, subnet } of parse((await files.read(FILE)) ?? '[]'))
      for (const [family, rules] of families) if (rules.network === network) subnets.set(family, subnet)
  } catch (cause) {
    const file = `${files.path}/${FILE}`
    log.warn('record of the own subnet cannot be used', {
      file,
      cause: messageOf(cause),
      effect: 'another may be leased',
    })
  }
  return subnets
}

/** Keeps the file equal to the lease that is held, which does not need the file. */
export async function keepLastSubnets(
  files: Pick<StateFiles, 'keep'>,
  network: () => NetworkConfig | undefined,
  lease: Source<LeaseState>,
  signal: AbortSignal,
): Promise<void> {
  let kept: string | undefined
  for await (const state of lease.watch(signal)) {
    if (state.at !== 'held') continue
    const families = network()?.families
    const own = [...state.own.lease.families].flatMap(([family, { subnet }]) => {
      const whole = families?.get(family)?.network
      return whole === undefined ? [] : [{ network: whole, subnet }]
    })
    const text = `${JSON.stringify(own)}\n`
    if (text === kept) continue
    kept = text
    await files.keep(FILE, text, 'off for longer than its lease lives, this node may get another subnet')
  }
}

/** After a clean-up the next start may lease any subnet. */
export async function forgetLastSubnets(files: Pick<StateFiles, 'remove'>): Promise<void> {
  await files.remove(FILE)
}

/** @throws ConfigError or SyntaxError */
function parse(text: string): readonly OwnSubnet[] {
  const list: unknown = JSON.parse(text)
  if (!Array.isArray(list)) throw new SyntaxError('it is no list')
  return list.map((item) => {
    const fields = new JsonFields(item, '')
    const network = parseCidr(fields.string('network') ?? '')
    const subnet = parseCidr(fields.string('subnet') ?? '')
    if (network === undefined || subnet === undefined || !contains(network, subnet))
      throw new SyntaxError('an entry names no subnet of a network')
    return { network, subnet }
  })
}

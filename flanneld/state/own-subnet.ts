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
  /** Id of the boot of the host in which the lease was held last; empty: another process has it, or it is not known. */
  readonly boot: string
}

/** Where the record is read, and in which boot of the host. */
export interface RecordNeeds {
  readonly files: Pick<StateFiles, 'path' | 'read'>
  readonly bootId: string
  readonly log: Logger
}

export interface LastRun {
  /** Subnets to ask for first. */
  readonly previous: ReadonlyMap<Family, Cidr>
  /** Those of them that this very host has used since it was booted. */
  readonly sinceBoot: ReadonlyMap<Family, Cidr>
}

/**
 * What is known of the last run, by the record and by what it wrote to subnet.env. Only both together say that this host has used a
 * subnet since it was booted: subnet.env alone, or the folder alone, may be copied from another host, whose boot had another id.
 */
export async function lastRun(
  needs: RecordNeeds,
  { families }: NetworkConfig,
  inSubnetFile: ReadonlyMap<Family, Cidr>,
): Promise<LastRun> {
  const previous = new Map(inSubnetFile)
  const sinceBoot = new Map<Family, Cidr>()
  for (const { network, subnet, boot } of await readRecord(needs))
    for (const [family, rules] of families) {
      if (rules.network !== network) continue
      // The record is ours alone; subnet.env may be of a run before it, or of another program.
      previous.set(family, subnet)
      if (boot !== '' && boot === needs.bootId && inSubnetFile.get(family) === subnet) sinceBoot.set(family, subnet)
    }
  return { previous, sinceBoot }
}

/**
 * The subnets that this node leased last, in their networks. Running containers have their addresses, and after two days off neither
 * the lease nor `/run` knows them any more. A damaged file is as good as none.
 */
async function readRecord({ files, log }: RecordNeeds): Promise<readonly OwnSubnet[]> {
  try {
    return parse((await files.read(FILE)) ?? '[]')
  } catch (cause) {
    const file = `${files.path}/${FILE}`
    log.warn('record of the own subnet cannot be used', {
      file,
      cause: messageOf(cause),
      effect: 'another may be leased',
    })
    return []
  }
}

/** Keeps the file equal to the lease that is held, which does not need the file. Of one that another process has taken it knows no boot. */
export async function keepLastSubnets(
  { files, bootId }: { files: Pick<StateFiles, 'keep'>; bootId: string },
  network: () => NetworkConfig | undefined,
  lease: Source<LeaseState>,
  signal: AbortSignal,
): Promise<void> {
  let kept: string | undefined
  for await (const state of lease.watch(signal)) {
    if (state.at !== 'held' && state.at !== 'lost') continue
    const [{ lease: last }, boot] = state.at === 'held' ? [state.own, bootId] : [state.last, '']
    const families = network()?.families
    const own = [...last.families].flatMap(([family, { subnet }]): OwnSubnet[] => {
      const whole = families?.get(family)?.network
      return whole === undefined ? [] : [{ network: whole, subnet, boot }]
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
    return { network, subnet, boot: fields.string('boot') ?? '' }
  })
}

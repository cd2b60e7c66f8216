import type { Way } from '../../backends/way.ts'
import { createKernel, type Kernel } from '../../kernel/kernel.ts'
import { commandsFor } from '../../kernel/kinds/words.ts'
import { obstacleText } from '../../kernel/obstacles/packet-path.ts'
import { withJournal } from '../../kernel/reconciler/journal.ts'
import { preview } from '../../kernel/reconciler/preview.ts'
import { type Cidr, networkAddress } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import { UsageError } from '../../lib/errors.ts'
import type { Lease } from '../../subnet/types.ts'
import { objections } from '../config/admission.ts'
import type { LeavingRoute } from '../config/ended-connections.ts'
import { interruptions, keepsAddress, routesLeaving } from '../config/interruptions.ts'
import { countEnded } from '../config/masqueraded.ts'
import { differences, parsedKey } from '../config/values.ts'
import type { HostView } from '../host/host-view.ts'
import { occupiedBy } from '../host/occupied.ts'
import { subnetsOf } from '../leases/last-lease.ts'
import { type Configuration, deviceKey, isDirect, takesPlaceOf, wayKey } from '../node/configuration.ts'
import { lookAhead, type Outlook } from '../node/look-ahead.ts'
import type { FlagValue } from '../options/go-flags.ts'
import type { Options } from '../options/options.ts'
import type { ProcessPort } from '../process-port.ts'
import { bootMark } from '../state/boot-mark.ts'
import { instanceOf } from '../state/instance.ts'
import { NOTHING_ON_RECORD, type PeekedState, peekState } from '../state/state-dir.ts'
import { type Plan, planDocument, planText } from './plan-text.ts'

interface PlanNeeds {
  readonly clock: Clock
  readonly port: ProcessPort
  readonly print: (text: string) => void
  /** The text of a file, or for `-` of the standard input. */
  readonly read: (path: string) => Promise<string>
}

const REFUSED = 78

/**
 * `flanneld plan`: prints, as commands, what the daemon would change on this host now; with `--config` what it would change if the network
 * configuration were that one, what of it could interrupt traffic, and what it would refuse (exit code 78). Leases nothing, so a node without
 * a lease has nothing to plan yet.
 *
 * @throws UsageError; ConfigError for a configuration that cannot be used
 */
export async function runPlan(
  needs: PlanNeeds,
  options: Options,
  flags: ReadonlyMap<string, FlagValue>,
): Promise<number> {
  const output = flags.get('o') ?? ''
  if (output !== '' && output !== 'json')
    throw new UsageError(`invalid value ${JSON.stringify(output)} for flag -o: must be json`)
  const file = flags.get('config')
  const given = typeof file === 'string' ? { text: await needs.read(file), origin: originOf(file) } : undefined
  const kernel = await createKernel()
  try {
    const state = (await peekState(instanceOf(options).stateDir, needs.port.uid, await bootMark())) ?? NOTHING_ON_RECORD
    const instead = given && { instead: given }
    const found = await lookAhead({ ...needs, kernel }, { options, state, leases: 'held', ...instead }, needs.port.stop)
    const plan = await planOf(found, kernel, state)
    needs.print(output === 'json' ? planDocument(plan) : planText(plan))
    return plan.change !== undefined && plan.change.refused.length > 0 ? REFUSED : 0
  } finally {
    kernel.close()
  }
}

function originOf(file: string): string {
  return file === '-' ? 'standard input' : file
}

async function planOf(found: Outlook, kernel: Kernel, { entries }: PeekedState): Promise<Plan> {
  const { configuration, inUse, obstacle, own, levels, folded } = found
  const isOther = inUse !== undefined && obstacle === undefined && wayKey(inUse) !== wayKey(configuration)
  const isBeside = isOther && !takesPlaceOf(configuration, inUse)
  const isTwin = inUse !== undefined && deviceKey(inUse) === deviceKey(configuration)
  const notes = configuration.warnings
  const occupied = levels.host && occupiedBy(levels.host.interfaces)
  const leases = { own, leases: levels.leases?.leases ?? new Map(), occupied }
  const refused = inUse === undefined ? [] : objections(configuration, inUse, leases)
  const change = inUse && {
    isSame: parsedKey(inUse) === parsedKey(configuration),
    differences: differences(inUse, configuration),
    refused,
    needsRestart: obstacle !== undefined,
    ...(obstacle !== undefined && { obstacle }),
    order: isBeside && refused.length === 0 ? orderOf(inUse, configuration, isTwin ? [] : madeOf(levels.ways)) : [],
    interruptions: [],
  }
  const nothing = { ops: [], failures: new Map(), obstacles: [] }
  // What is refused changes nothing.
  if (refused.length > 0) return { ...nothing, notes, hasLease: true, ...(change && { change }) }
  if (folded === undefined) return { ...nothing, notes, hasLease: false, ...(change && { change }) }
  const { verdicts, plan } = folded
  const { ops: all, failures } = await preview(kernel.tables, withJournal(plan.desired, entries))
  const obstacles = (await kernel.rules.obstacles.read(plan.packetPaths)).flat().map(obstacleText)
  const skipped = plan.skipped.map(({ id }) => id)
  const neighbours = isBeside && isTwin && isDirect(configuration) ? await onLink(levels.host, verdicts.planned) : []
  const unreached = new Map([...skipped, ...neighbours].map((id) => [id, subnetsOf(verdicts.planned.get(id))]))
  // A peer that has not said yet that it receives by the new way keeps its route until it has.
  const waiting = new Set(isBeside ? [...unreached.values()].flat() : [])
  const ops = all.filter(
    ({ verb, object }) => !(verb === 'remove' && object.kind === 'route' && waiting.has(object.dst)),
  )
  const left = await presentRoutes(kernel, [...unreached.values()].flat())
  const planned = { next: configuration, ops, left, unreached: unreached.keys(), isBeside }
  const may = inUse && interruptions({ inUse, ...planned }, await countEnded(kernel, routesLeaving(planned)))
  return {
    notes: [
      ...notes,
      ...familyNotes(found),
      ...verdicts.rejected.map(({ id, text }) => `lease ${id} is rejected: ${text}`),
      ...plan.notices.map(({ text }) => text),
      ...(keepsAddress(ops)
        ? ['the address of the device that goes stays on lo as long as a socket of this host has it']
        : []),
      ...(isBeside
        ? [...neighbours, ...skipped].map((id) => `peer ${id} moves when its lease accepts the new way`)
        : plan.skipped.map(({ id, text }) => `peer ${id} is skipped: ${text}`)),
    ],
    hasLease: true,
    ops: ops.map((op) => ({ op, commands: commandsFor(op) })),
    failures,
    obstacles,
    ...(change && { change: { ...change, interruptions: may ?? [] } }),
  }
}

/** Of families that the lease would gain or lose. */
function familyNotes({ own, presumed, levels }: Outlook): readonly string[] {
  const lacks = [levels.host?.choice?.lacks, presumed?.lacks].filter((text) => text !== undefined)
  const next = presumed?.lease
  if (own === undefined || next === undefined || own.id === next.id) return lacks
  const isMore = next.families.size > own.families.size
  const how = isMore ? ', or another free subnet of the new family' : ''
  return [`the lease ${own.id} becomes ${next.id}${how}`, ...lacks]
}

/** Of these peers the ones that direct paths lead to, which their leases do not accept yet. */
async function onLink(host: HostView | undefined, peers: ReadonlyMap<string, Lease>): Promise<readonly string[]> {
  const reach = await host?.paths.resolve(peers, false)
  const isNear = ({ families }: Lease) =>
    [...families.values()].some(({ publicIp }) => reach?.get(publicIp)?.onLink !== undefined)
  return [...peers.values()].flatMap((lease) => (isNear(lease) ? [lease.id] : []))
}

function madeOf(ways: readonly Way[] = []): readonly string[] {
  return ways.flatMap(({ devices }) => [...devices.names.values()])
}

/** What a running daemon does (`flanneld/switch`), in words. `made`: names of its new devices. */
function orderOf(inUse: Configuration, next: Configuration, made: readonly string[]): readonly string[] {
  const [from, to] = [inUse, next].map(({ backend }) => backend.type)
  const [before, after] = from === to ? ['the present way', 'the new way'] : [from, to]
  return [
    made.length === 0
      ? `${after} is set up beside ${before}`
      : `the device ${made.join(', ')} is made beside ${before}`,
    `the lease accepts ${after}, too`,
    `probes by ${after} go to each peer whose lease accepts it`,
    'the route to each peer whose probes are answered moves, by one replacement',
    `${before} goes when no lease needs it any more`,
  ]
}

async function presentRoutes({ host }: Kernel, subnets: readonly Cidr[]): Promise<readonly LeavingRoute[]> {
  const paths = await host.routesTo(subnets.map(networkAddress))
  return subnets.map((dst, at) => ({ dst, device: paths[at]?.device }))
}

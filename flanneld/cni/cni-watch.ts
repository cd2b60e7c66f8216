import { rm } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import type { HostKernel } from '../../kernel/host.ts'
import { type ObjectTable, OpFailure } from '../../kernel/table.ts'
import { familyOf } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../../lib/log.ts'
import { isSystemError, readSystemError } from '../../lib/system-error.ts'
import { remedyOfRefusal } from '../status/fault-conditions.ts'
import type { Condition, ConditionSet } from '../status/status.ts'
import { missingGateways, type OwnNetwork, staleAddresses } from './bridge-addresses.ts'
import { type CniJudgement, cniConditions, formerCondition } from './conditions.ts'
import { bridgeOf, type CniNetwork, delegateOf, isOwnForm, parseConfig } from './conflist.ts'
import type { BridgeFacts, CniFacts, Reservation } from './facts.ts'
import { HandBack } from './hand-back.ts'
import { NEEDED, Plugins } from './plugins.ts'
import { ReservationReader, readBridge, readConfigs, readIfThere } from './read.ts'
import type { CniRecord } from './record.ts'

/** None of what is looked at tells when it changes; a look takes a millisecond. */
const LOOK_MS = 5_000
const GROUP = 'cni'

interface CniNeeds {
  readonly host: Pick<HostKernel, 'listInterfaces'>
  /** The kernel's table of addresses. */
  readonly addresses: Pick<ObjectTable, 'apply'>
  /** Undefined: no lease is held, or nothing is planned yet. */
  readonly own: () => (OwnNetwork & { readonly conflist: string | undefined }) | undefined
  readonly record: CniRecord
  /** Conflists of earlier starts, where they were others. */
  readonly former: readonly CniNetwork[]
  readonly conditions: ConditionSet
  /** `CNI_STATE` where nothing is said. */
  readonly cniState?: string
  readonly clock: Clock
  readonly log: Logger
}

export type CniOptions = Omit<CniJudgement, 'own' | 'held'>

interface Looked extends Omit<CniFacts, 'plugins'> {
  /** Whether every store of host-local could be read, so that who is not on record has no container. */
  readonly isWhole: boolean
}

/**
 * Looks after what containers need beside the conflist, which is an object like any other: plugins that can be run, no configuration of
 * others in the way, no address of an earlier subnet on the bridge, and a way back to flannel's meta-plugin. Mends what is this daemon's
 * to mend and names the rest.
 */
export class CniWatch {
  readonly #needs: CniNeeds
  readonly #options: CniOptions
  readonly #plugins: Plugins
  readonly #reservations: ReservationReader
  readonly #handBack: HandBack
  #former: readonly CniNetwork[]

  constructor(needs: CniNeeds, options: CniOptions) {
    this.#needs = needs
    this.#options = options
    this.#former = needs.former
    this.#plugins = new Plugins(needs, { binDir: options.binDir, from: options.pluginsFrom })
    this.#reservations = new ReservationReader(needs.cniState)
    this.#handBack = new HandBack(needs, needs.cniState)
  }

  /** Until the signal is aborted; then once more, since flannel may be next. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#needs.record.use(this.#options.network, this.#former)
    while (!signal.aborted) {
      await this.look()
      await this.#needs.clock.sleep(LOOK_MS, signal).catch(() => {})
    }
    const { found, unreadable } = await this.#reservations.read()
    if (unreadable.length === 0) await this.#keepWayBack(found)
  }

  async look(): Promise<void> {
    const { network } = this.#options
    const { conditions } = this.#needs
    const plugins = await this.#plugins.mend(network === undefined ? [] : NEEDED)
    const facts = network === undefined ? NOTHING : await this.#read(network)
    // Whom nobody can read of may have a container all the same: then nothing is taken away.
    const bridge = facts.isWhole ? await this.#withoutStale(facts) : facts.bridge
    if (network !== undefined) await this.#giveGateways(network, { ...facts, bridge })
    const former = await this.#removeFormer(facts)
    const wayBack = facts.isWhole ? await this.#keepWayBack(facts.reservations) : undefined
    const held = new Set(conditions.list().map(({ code }) => code))
    const judged = { ...this.#options, own: this.#needs.own(), held }
    const found = cniConditions({ ...facts, bridge, plugins }, judged)
    conditions.replace(GROUP, [...found, ...former, ...(wayBack === undefined ? [] : [wayBack])])
  }

  async #read(network: CniNetwork): Promise<Looked> {
    const configs = await readConfigs(dirname(network.confFile))
    const reservations = await this.#reservations.read()
    const bridge = await this.#readBridge(network)
    const unreadable = [...configs.unreadable, ...reservations.unreadable]
    const isWhole = reservations.unreadable.length === 0
    return { configs: configs.found, reservations: reservations.found, isWhole, bridge, unreadable }
  }

  async #readBridge({ name }: CniNetwork): Promise<BridgeFacts | undefined> {
    try {
      return await readBridge(this.#needs.host, bridgeOf(name))
    } catch (cause) {
      // That the kernel cannot be read others say.
      if (cause instanceof OpFailure) return undefined
      throw cause
    }
  }

  /** Takes what nobody needs off the bridge, which the next container gives the right address. */
  async #withoutStale({ bridge, reservations }: Looked): Promise<BridgeFacts | undefined> {
    const own = this.#needs.own()
    if (bridge === undefined || own === undefined) return bridge
    const gone = new Set<string>()
    for (const { address, length, removable } of staleAddresses(bridge, reservations, own)) {
      if (!removable || !(await this.#apply('remove', bridge.name, { address, length }))) continue
      gone.add(address)
      const fields = { device: bridge.name, address: `${address}/${length}` }
      this.#needs.log.warn('address of an earlier subnet removed', fields)
    }
    return { ...bridge, addresses: bridge.addresses.filter(({ address }) => !gone.has(address)) }
  }

  async #giveGateways({ name: network }: CniNetwork, { bridge, reservations }: Looked): Promise<void> {
    const own = this.#needs.own()
    if (bridge === undefined || own === undefined) return
    for (const { address, length } of missingGateways(bridge, reservations, { network, subnets: own.subnets })) {
      if (!(await this.#apply('create', bridge.name, { address, length }))) continue
      const fields = { device: bridge.name, address: `${address}/${length}` }
      this.#needs.log.warn('address of the bridge restored', fields)
    }
  }

  async #apply(verb: 'create' | 'remove', device: string, at: BridgeFacts['addresses'][number]): Promise<boolean> {
    const object = { kind: 'address', device, family: familyOf(at.address), ...at } as const
    const [result] = await this.#needs.addresses.apply([{ verb, object }])
    return result?.ok === true
  }

  /** As soon as the new one is there: without any, no container could be deleted either. What cannot be removed stays on record. */
  async #removeFormer({ configs }: Pick<CniFacts, 'configs'>): Promise<readonly Condition[]> {
    const { network } = this.#options
    if (network !== undefined && !configs.some(({ name }) => name === basename(network.confFile))) return []
    const left: CniNetwork[] = []
    const conditions: Condition[] = []
    for (const former of this.#former) {
      try {
        await this.#removeConflist(former)
      } catch (cause) {
        if (!isSystemError(cause)) throw cause
        left.push(former)
        conditions.push(formerCondition(former, readSystemError(cause).message))
      }
    }
    if (left.length < this.#former.length) await this.#needs.record.use(network, left)
    this.#former = left
    return conditions
  }

  /** @throws the system's error */
  async #removeConflist({ confFile, name }: CniNetwork): Promise<void> {
    const text = await readIfThere(confFile)
    // Somebody has put another into its place, flannel's say.
    if (text === undefined || !isOwnForm(parseConfig(text), name)) return
    await rm(confFile, { force: true })
    this.#needs.log.info('CNI configuration of an earlier start removed', { path: confFile })
  }

  async #keepWayBack(reservations: readonly Reservation[]) {
    const { network } = this.#options
    const conflist = this.#needs.own()?.conflist
    if (network === undefined || conflist === undefined) return undefined
    try {
      await this.#handBack.keep(network.name, delegateOf(conflist), reservations)
      return undefined
    } catch (cause) {
      if (!isSystemError(cause)) throw cause
      const { code, message } = readSystemError(cause)
      const text = `flannel's meta-plugin could not free the addresses of containers that are made now, if it takes over: ${message}`
      return { code: 'cni-way-back', severity: 'info', text, remedy: remedyOfRefusal(code) } as const
    }
  }
}

const NOTHING: Looked = { configs: [], reservations: [], isWhole: true, bridge: undefined, unreadable: [] }

import { FAMILIES, type Family, type IpAddr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import { FamilyMap } from '../../lib/family-map.ts'
import { Latest, type Source } from '../../lib/latest.ts'
import { runTogether } from '../../lib/lifecycle.ts'
import type { Logger } from '../../lib/log.ts'
import { untilFirst } from '../../lib/signals.ts'
import type { NetworkConfig } from '../network-config.ts'
import type {
  AcquireHints,
  Lease,
  LeaseAttrs,
  LeaseSnapshot,
  LeaseStore,
  LeaseWait,
  OwnLease,
  PublishHints,
  StoreHealth,
} from '../types.ts'
import { type AnnotationNames, annotationNames } from './annotations.ts'
import type { KubeClient } from './client.ts'
import { ApiUnavailable, NotFound } from './errors.ts'
import type { NodeFacts } from './node.ts'
import { type FollowerTimes, NODES, NodeFollower, type NodeSink } from './node-follower.ts'
import { addressIn, nodeLease } from './node-lease.ts'
import { NodeMirror } from './node-mirror.ts'
import { findNodeName, type NodeNameOptions } from './node-name.ts'
import { ownNode } from './own-node.ts'
import { OWN_FIRST, readOwnNode } from './read-own-node.ts'
import { whileUnavailable } from './while-unavailable.ts'

interface StoreNeeds {
  readonly client: KubeClient
  readonly clock: Clock
  readonly log: Logger
  readonly random: () => number
}

export interface KubeLeaseStoreOptions {
  readonly nodeId: string
  readonly node: NodeNameOptions
  /** Ends in `/` or `-`. */
  readonly annotationPrefix: string
  /** Of the network configuration, for messages. */
  readonly configOrigin: string
  readonly times?: FollowerTimes
}

interface Want {
  readonly attrs: LeaseAttrs
  readonly network: NetworkConfig
  /** Families in which this node has a lease; absent: as its Node says. */
  readonly has?: readonly Family[]
}

/**
 * Leases as flannel keeps them in Kubernetes: the Node's podCIDR is the subnet, its annotations say how it is reached. Nothing is chosen
 * and nothing runs out; a Node has one writer, so what this node wants is compared with what stands there and what differs is patched.
 */
export class KubeLeaseStore implements LeaseStore {
  readonly name = 'kubernetes leases'
  readonly health: Source<StoreHealth>
  readonly #needs: StoreNeeds
  readonly #options: KubeLeaseStoreOptions
  readonly #names: AnnotationNames
  readonly #changes = new Latest<number>('kubernetes lease changes')
  readonly #ownFirst = new Latest<LeaseSnapshot>('own kubernetes lease')
  #mirror: NodeMirror | undefined
  #want: Want | undefined
  /** When annotations were written last, on the monotonic clock. */
  #wrote: number | undefined
  #count = 0

  constructor(needs: StoreNeeds, options: KubeLeaseStoreOptions) {
    this.#needs = needs
    this.#options = options
    this.#names = annotationNames(options.annotationPrefix)
    this.health = needs.client.health.source
  }

  /** Of thousands of Nodes the list takes seconds. */
  get ownFirst(): Source<LeaseSnapshot> {
    return this.#ownFirst
  }

  /** Counts changes of the Nodes. */
  get changes(): Source<number> {
    return this.#changes
  }

  /** The own Node as it was last seen. */
  get node(): NodeFacts | undefined {
    return this.#mirror?.own
  }

  /** Public addresses that an operator has given this node, in place of those of its flags. */
  givenAddresses(): ReadonlyMap<Family, IpAddr> {
    const { node } = this
    const found = FAMILIES.map(
      (family) => [family, node && addressIn(node, this.#names.families[family].nodePublicIp, family)] as const,
    )
    return new FamilyMap(
      found.flatMap(([family, address]) => (address === undefined ? [] : [[family, address] as const])),
    )
  }

  async run(signal: AbortSignal, { ownFirst } = { ownFirst: false }): Promise<void> {
    const { node, nodeId, times } = this.#options
    const find = (stop: AbortSignal) => findNodeName(this.#needs.client, node, stop)
    const name = await whileUnavailable(this.#needs, USER, find, signal)
    this.#mirror ??= new NodeMirror({ names: this.#names, own: { name, nodeId } })
    const mirror = this.#mirror
    const read = new AbortController()
    const first = async (stop: AbortSignal) => {
      if (ownFirst && !mirror.isWhole) await this.#readOwn(name, mirror, stop)
      read.abort()
    }
    const all = async (stop: AbortSignal) => {
      const { clock } = this.#needs
      await untilFirst([stop, read.signal], (over) => clock.sleep(HEAD_START_MS, over)).catch(() => {})
      await new NodeFollower({ ...this.#needs, sink: this.#sink(mirror) }, times).run(stop)
    }
    await runTogether([first, all], signal)
  }

  async *watch(signal: AbortSignal): AsyncGenerator<LeaseSnapshot> {
    for await (const _ of this.#changes.watch(signal)) if (this.#mirror?.isWhole) yield this.#mirror.snapshot()
  }

  async acquire(attrs: LeaseAttrs, hints: AcquireHints, signal: AbortSignal): Promise<OwnLease> {
    return await this.#write({ attrs, network: hints.network }, hints, signal)
  }

  async publish(own: OwnLease, attrs: LeaseAttrs, hints: PublishHints, signal: AbortSignal): Promise<OwnLease> {
    return await this.#write({ attrs, network: hints.network, has: [...own.lease.families.keys()] }, hints, signal)
  }

  /** The own one counts as unreadable while anything in it is not as this node last wanted it. */
  entry(id: string) {
    const node = this.node
    const want = this.#want
    if (node?.name !== id || want === undefined) {
      const lease = this.#mirror?.snapshot().leases.get(id)
      return lease && { lease, version: this.#mirror?.snapshot().revision ?? '' }
    }
    const said = () => this.#saidOf(node, want)
    return {
      version: node.version,
      // With every change of any Node it is asked whether the version is another one.
      get lease() {
        return said()
      },
    }
  }

  /** Merges this into the own Node's status; everything else in it stays. */
  async patchStatus(patch: object, signal: AbortSignal): Promise<void> {
    const { client } = this.#needs
    const name = this.node?.name
    if (name === undefined) throw new ApiUnavailable('the own Node is not known yet')
    const permission = { resource: 'nodes/status', verb: 'patch' } as const
    const path = `${NODES}/${encodeURIComponent(name)}/status`
    const node = await client.ask({ method: 'PATCH', path, permission, patch }, signal)
    this.#mirror?.putAnswered(node)
    this.#changed()
  }

  async #readOwn(name: string, mirror: NodeMirror, signal: AbortSignal): Promise<void> {
    const listed = async (stop: AbortSignal) => {
      for await (const _ of this.#changes.watch(stop)) if (mirror.isWhole) return
    }
    const node = await readOwnNode(this.#needs, { name, listed }, signal)
    if (node === undefined || mirror.isWhole) return
    mirror.putAnswered(node)
    this.#ownFirst.set(mirror.snapshot())
    this.#changed()
  }

  async #write(want: Want, hints: PublishHints, signal: AbortSignal): Promise<OwnLease> {
    this.#want = want
    let told = ''
    const tell = (wait: LeaseWait | undefined) => {
      hints.waiting?.(wait)
      if (wait !== undefined && wait.text !== told) this.#needs.log.warn('no subnet of this node', { why: wait.text })
      told = wait?.text ?? ''
    }
    for await (const _ of this.#changes.watch(signal)) {
      const node = this.node
      if (node === undefined) {
        tell(this.#noNode())
        continue
      }
      const own = this.#ownNode(node, want)
      if (own.at === 'waiting') {
        tell(own.wait)
        continue
      }
      tell(undefined)
      const names = Object.keys(own.patch)
      if (names.length === 0) {
        // Whoever waits until he sees at least this version may have been told of an earlier one only.
        this.#changed()
        const { lease, lacks } = own
        // Nothing has come of it: who asked keeps what he has.
        if (hints.retryOf?.lease.id === lease.id) return hints.retryOf
        return { lease, expiresAt: undefined, version: node.version, ...(lacks && { lacks }) }
      }
      await this.#pace(signal)
      this.#needs.log.info('annotations of the own node written', { node: node.name, names: names.join(' ') })
      // What stands there then is looked at again: somebody may have changed it by now.
      await whileUnavailable(this.#needs, USER, (stop) => this.#annotate(own.patch, stop), signal)
    }
    throw signal.reason
  }

  /** A Node that is gone will be told of, and is waited for then. */
  async #annotate(annotations: Readonly<Record<string, string | null>>, signal: AbortSignal): Promise<void> {
    try {
      await this.patchStatus({ metadata: { annotations } }, signal)
    } catch (cause) {
      if (!(cause instanceof NotFound)) throw cause
    }
  }

  /** Whoever else writes the same annotations again and again is answered no faster. */
  async #pace(signal: AbortSignal): Promise<void> {
    const { clock } = this.#needs
    const next = this.#wrote === undefined ? 0 : this.#wrote + PACE_MS - clock.now()
    if (next > 0) await clock.sleep(next, signal)
    this.#wrote = clock.now()
  }

  #noNode(): LeaseWait {
    const name = this.#options.node.nodeName || 'of this host'
    return {
      text: `there is no Node ${name} in the Kubernetes API`,
      remedy: 'it is waited for: let the kubelet of this host register, or correct NODE_NAME',
    }
  }

  #ownNode(node: NodeFacts, { attrs, network, has = this.#familiesSaid(node) }: Want) {
    return ownNode(node, attrs, { network, names: this.#names, origin: this.#options.configOrigin, has })
  }

  #saidOf(node: NodeFacts, want: Want): Lease | undefined {
    const own = this.#ownNode(node, want)
    return own.at === 'known' && Object.keys(own.patch).length === 0 ? own.lease : undefined
  }

  /** As this node wrote them in an earlier run. */
  #familiesSaid(node: NodeFacts): readonly Family[] {
    const said = nodeLease(node, this.#names)
    if (said === undefined || 'reason' in said || said.node !== this.#options.nodeId) return []
    return [...said.families.keys()]
  }

  #sink(mirror: NodeMirror): NodeSink {
    const tellIf = (isChange: boolean) => {
      if (isChange) this.#changed()
    }
    return {
      beginList: () => {
        const list = mirror.beginList()
        return {
          add: (object) => list.add(object),
          commit: (revision) => {
            list.commit(revision)
            this.#needs.client.health.forget(OWN_FIRST)
            this.#changed()
          },
        }
      },
      put: (object) => tellIf(mirror.put(object)),
      remove: (object) => tellIf(mirror.remove(object)),
    }
  }

  #changed(): void {
    this.#count += 1
    this.#changes.set(this.#count)
  }
}

const USER = 'own node'
/** For so long the list waits for the own Node. */
const HEAD_START_MS = 1_000
const PACE_MS = 1_000

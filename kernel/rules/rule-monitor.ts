import type { Clock } from '../../lib/clock.ts'
import { MalformedMessage } from '../netlink/attributes.ts'
import { parseSetChange } from '../netlink/guard-messages.ts'
import { eachMessage } from '../netlink/message.ts'
import { NF_INET_FORWARD, parseRuleChange, type RuleChange } from '../netlink/nftables-messages.ts'
import { EINTR, ENOBUFS, type NetlinkSocket } from '../netlink/socket.ts'
import type { ObjectKind } from '../objects.ts'
import type { KernelEvent } from '../table.ts'
import { instanceOfChain, instanceOfGuard, instanceOfTable } from './names.ts'
import type { RuleSets } from './rule-sets.ts'
import { RuleSieve } from './rule-sieve.ts'

/** Reading rules back starts a program, so it is asked for at most this often. */
const QUIET_MS = 500
const BURST = 4096
/** For so long after reading, events wait in the kernel. */
const GATHER_MS = 100
const GUARD: readonly ObjectKind[] = ['guard-sets', 'guard-peer', 'guard-chains']
const ALL: readonly ObjectKind[] = ['iptables-chain', 'nft-table', 'clear-path', ...GUARD]
const IPTABLES: readonly ObjectKind[] = ['iptables-chain', 'clear-path']
/** Chains of others that decide about our traffic, by table. */
const WATCHED: Readonly<Record<string, readonly string[]>> = {
  nat: ['POSTROUTING'],
  filter: ['FORWARD', 'DOCKER-USER'],
}

/**
 * Hears every change of nf_tables (nft and iptables-nft) and tells of those in chains that concern us. A busy kube-proxy rewrites
 * thousands of rules a second; those of others are told by their bytes (`RuleSieve`), of the
 * rest only the names of table and chain are looked at.
 */
export class RuleMonitor {
  readonly #socket: NetlinkSocket
  readonly #sets: RuleSets
  readonly #clock: Clock
  readonly #ownPort: number
  readonly #buffer = new Uint8Array(64 * 1024)
  readonly #view = new DataView(this.#buffer.buffer)
  readonly #sieve = new RuleSieve(this.#buffer, Object.values(WATCHED).flat())
  readonly #closing = new AbortController()
  readonly #changed = new Set<ObjectKind>()
  #lastTold = Number.NEGATIVE_INFINITY
  #waiting = false

  /** `socket` hears `NFTABLES_GROUP`. `ownPort` is our channel's: elements that were changed through it are no news. */
  constructor(needs: { socket: NetlinkSocket; sets: RuleSets; clock: Clock; ownPort: number }) {
    this.#socket = needs.socket
    this.#sets = needs.sets
    this.#clock = needs.clock
    this.#ownPort = needs.ownPort
  }

  start(onEvents: (events: readonly KernelEvent[]) => void): void {
    this.#socket.watch(() => {
      this.#drain()
      if (this.#changed.size > 0) this.#tell(onEvents)
      // Rewrites come one after the other: many are read at once, in a tenth of the time.
      return this.#clock.sleep(GATHER_MS, this.#closing.signal)
    })
  }

  close(): void {
    this.#closing.abort()
    this.#socket.close()
  }

  #drain(): void {
    for (let count = 0; count < BURST; count += 1) {
      const length = this.#socket.receive(this.#buffer)
      if (length === -EINTR) continue
      if (length < 0 && length !== -ENOBUFS) return
      if (length < 0 || !this.#read(length)) this.#note(ALL)
    }
  }

  /** False: cut off or unreadable, so that something was missed. */
  #read(length: number): boolean {
    if (!this.#sieve.passes(length, this.#sets.watched)) return true
    try {
      eachMessage(this.#view, length, (message) => {
        if (message.port === this.#ownPort && message.port !== 0) return
        const change = parseRuleChange(message)
        if (change !== undefined) this.#note(kindsOf(change, this.#sets.watched))
        const inSet = change === undefined ? parseSetChange(message) : undefined
        if (inSet !== undefined && instanceOfGuard(inSet.table) !== undefined) {
          this.#note(inSet.of === 'set' ? GUARD : ['guard-peer'])
        }
      })
      return true
    } catch (cause) {
      if (cause instanceof MalformedMessage) return false
      throw cause
    }
  }

  #note(kinds: readonly ObjectKind[]): void {
    for (const kind of kinds) this.#changed.add(kind)
  }

  #tell(onEvents: (events: readonly KernelEvent[]) => void): void {
    if (this.#waiting) return
    const wait = this.#lastTold + QUIET_MS - this.#clock.now()
    if (wait <= 0) {
      const kinds = [...this.#changed]
      this.#changed.clear()
      this.#lastTold = this.#clock.now()
      onEvents([{ type: 'kinds', kinds }])
      return
    }
    this.#waiting = true
    this.#clock.sleep(wait, this.#closing.signal).then(
      () => {
        this.#waiting = false
        this.#tell(onEvents)
      },
      () => {},
    )
  }
}

function kindsOf(change: RuleChange, others: ReadonlySet<string>): readonly ObjectKind[] {
  const { family, table, chain, hook } = change
  if (family === 'inet' && instanceOfGuard(table) !== undefined) return chain === undefined ? GUARD : ['guard-chains']
  if (instanceOfTable(table) !== undefined) return ['nft-table']
  if (hook === NF_INET_FORWARD || others.has(`${family} ${table} ${chain}`)) return IPTABLES
  const watched = family === 'inet' ? undefined : WATCHED[table]
  if (watched === undefined) return []
  return chain === undefined || watched.includes(chain) || instanceOfChain(chain) !== undefined ? IPTABLES : []
}

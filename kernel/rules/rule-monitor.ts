import type { Clock } from '../../lib/clock.ts'
import { aborted } from '../../lib/signals.ts'
import { align4, MalformedMessage } from '../netlink/attributes.ts'
import { parseSetChange } from '../netlink/guard-messages.ts'
import { eachMessage, type Message } from '../netlink/message.ts'
import {
  eachOtherThanRules,
  NF_INET_FORWARD,
  NF_INET_LOCAL_IN,
  parseRuleChange,
  type RuleChange,
} from '../netlink/nftables-messages.ts'
import { EINTR, ENOBUFS, type NetlinkSocket } from '../netlink/socket.ts'
import type { ObjectKind } from '../objects.ts'
import { instanceOfChain, instanceOfGuard, instanceOfTable } from './names.ts'
import { RuleSieve } from './rule-sieve.ts'

/** Reading rules back starts a program, so it is asked for at most this often. */
const QUIET_MS = 500
const BURST = 4096
/** Bytes of a datagram; what is longer is taken for an event of everything. */
const LARGEST = 64 * 1024
/** For so long after reading, events wait in the kernel. */
const GATHER_MS = 100
const GUARD: readonly ObjectKind[] = ['guard-sets', 'guard-peer', 'guard-chains']
const ALL: readonly ObjectKind[] = ['iptables-chain', 'nft-table', ...GUARD]
const IPTABLES: readonly ObjectKind[] = ['iptables-chain']
/** Chains of others that decide about our traffic, by table. */
const WATCHED: Readonly<Record<string, readonly string[]>> = {
  nat: ['POSTROUTING'],
  filter: ['FORWARD', 'DOCKER-USER', 'INPUT'],
  raw: ['PREROUTING'],
}

interface Watcher {
  readonly kind: ObjectKind
  readonly onChange: () => void
}

/**
 * Receives every change of nf_tables (nft and iptables-nft) and passes on those in chains that concern us, to those who watch the
 * kind. A busy kube-proxy rewrites thousands of rules a second; those of others are recognised by their bytes (`RuleSieve`), of
 * the rest only the names of table and chain are looked at.
 */
export class RuleMonitor {
  /** Chains of others, as in `inet firewalld filter_FORWARD`, whose rules decide about our packets. */
  chainsOfOthers: ReadonlySet<string> = new Set()
  readonly #socket: NetlinkSocket | undefined
  readonly #clock: Clock
  /** Of our channel, and of the programs that we run just now. */
  readonly #ownPorts: Set<number>
  readonly #buffer = new Uint8Array(256 * 1024)
  readonly #view = new DataView(this.#buffer.buffer)
  readonly #sieve = new RuleSieve(this.#buffer, Object.values(WATCHED).flat())
  readonly #closing = new AbortController()
  readonly #changed = new Set<ObjectKind>()
  readonly #watchers = new Set<Watcher>()
  #started = false
  #lastNotified = Number.NEGATIVE_INFINITY
  #waiting = false

  /**
   * `socket` receives `NFTABLES_GROUP`; undefined where the kernel has no nf_tables. `ownPort` is our channel's: what it does to
   * elements is no change.
   */
  constructor(needs: { socket: NetlinkSocket | undefined; clock: Clock; ownPort: number }) {
    this.#socket = needs.socket
    this.#clock = needs.clock
    this.#ownPorts = new Set(needs.ownPort === 0 ? [] : [needs.ownPort])
  }

  /** Calls `onChange` when something of the kind may have changed, until the signal is aborted. */
  async watch(kind: ObjectKind, onChange: () => void, signal: AbortSignal): Promise<void> {
    const watcher = { kind, onChange }
    this.#watchers.add(watcher)
    this.#start()
    await aborted(signal)
    this.#watchers.delete(watcher)
  }

  /** Iptables rules have changed in the legacy tables, of which there are no events. */
  legacyChanged(): void {
    this.#note(IPTABLES)
    this.#notify()
  }

  /** What the programs do that `work` starts is no change: their netlink sockets bear their process ids. */
  async passOver<T>(work: (onStart: (pid: number) => void) => Promise<T>): Promise<T> {
    const pids = new Set<number>()
    try {
      return await work((pid) => {
        pids.add(pid)
        this.#ownPorts.add(pid)
      })
    } finally {
      // All that they did waits by now. Their numbers may be another program's soon.
      this.catchUp()
      for (const pid of pids) this.#ownPorts.delete(pid)
    }
  }

  /** Takes what waits. Between many changes of ours: they would overflow the queue, and everything would be read again. */
  catchUp(): void {
    if (this.#socket === undefined) return
    this.#drain(this.#socket)
    if (this.#changed.size > 0) this.#notify()
  }

  #start(): void {
    if (this.#started) return
    this.#started = true
    this.#socket?.watch(() => {
      this.catchUp()
      // Rewrites come one after the other: many are read at once, in a tenth of the time.
      return this.#clock.sleep(GATHER_MS, this.#closing.signal)
    })
  }

  close(): void {
    this.#closing.abort()
    this.#socket?.close()
  }

  /** Reads many datagrams at once: searching them costs the same for one as for a hundred. */
  #drain(socket: NetlinkSocket): void {
    let filled = 0
    for (let count = 0; count < BURST; count += 1) {
      const length = socket.receive(this.#buffer.subarray(filled))
      if (length === -EINTR) continue
      if (length < 0 && length !== -ENOBUFS) break
      if (length < 0 || length > this.#buffer.length - filled) this.#note(ALL)
      else filled += align4(length)
      if (filled > this.#buffer.length - LARGEST) {
        this.#read(filled)
        filled = 0
      }
    }
    this.#read(filled)
  }

  #read(length: number): void {
    try {
      if (this.#sieve.holdsRulesOfOurs(length, this.chainsOfOthers)) eachMessage(this.#view, length, this.#visit)
      else eachOtherThanRules(this.#view, length, this.#visit)
    } catch (cause) {
      if (!(cause instanceof MalformedMessage)) throw cause
      // Something was missed.
      this.#note(ALL)
    }
  }

  readonly #visit = (message: Message): void => {
    if (this.#ownPorts.has(message.port)) return
    const change = parseRuleChange(message)
    if (change !== undefined) this.#note(kindsOf(change, this.chainsOfOthers))
    const inSet = change === undefined ? parseSetChange(message) : undefined
    if (inSet !== undefined && instanceOfGuard(inSet.table) !== undefined) {
      this.#note(inSet.of === 'set' ? GUARD : ['guard-peer'])
    }
  }

  #note(kinds: readonly ObjectKind[]): void {
    for (const kind of kinds) this.#changed.add(kind)
  }

  #notify(): void {
    if (this.#waiting) return
    const wait = this.#lastNotified + QUIET_MS - this.#clock.now()
    if (wait <= 0) {
      const kinds = new Set(this.#changed)
      this.#changed.clear()
      this.#lastNotified = this.#clock.now()
      for (const { kind, onChange } of this.#watchers) if (kinds.has(kind)) onChange()
      return
    }
    this.#waiting = true
    this.#clock.sleep(wait, this.#closing.signal).then(
      () => {
        this.#waiting = false
        this.#notify()
      },
      () => {},
    )
  }
}

function kindsOf(change: RuleChange, others: ReadonlySet<string>): readonly ObjectKind[] {
  const { family, table, chain, hook } = change
  if (family === 'inet' && instanceOfGuard(table) !== undefined) return chain === undefined ? GUARD : ['guard-chains']
  if (instanceOfTable(table) !== undefined) return ['nft-table']
  if (hook === NF_INET_FORWARD || hook === NF_INET_LOCAL_IN || others.has(`${family} ${table} ${chain}`))
    return IPTABLES
  const watched = family === 'inet' ? undefined : WATCHED[table]
  if (watched === undefined) return []
  return chain === undefined || watched.includes(chain) || instanceOfChain(chain) !== undefined ? IPTABLES : []
}

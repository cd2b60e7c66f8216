import { lookup } from 'node:dns/promises'
import { type IpAddr, parseIp } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import { Latest } from '../../lib/latest.ts'
import { untilFirst } from '../../lib/signals.ts'

/** A name's address may move; a peer's subnet that contains it has to be rejected before the store is out of reach. */
const AGAIN_MS = 60_000
/** At the first time the plan waits for the answers, but not for a resolver that hangs. */
const FIRST_MS = 1_000

export type Resolve = (name: string) => Promise<readonly string[]>

/** The addresses of the store's endpoints: those that are given, and those that their names lead to. */
export class StoreAddresses {
  readonly changes = new Latest<readonly IpAddr[]>('store addresses')
  readonly #clock: Clock
  readonly #resolve: Resolve
  readonly #given: readonly IpAddr[]
  readonly #names: readonly string[]
  /** Of a name that is not answered now the last answer stays. */
  readonly #answers = new Map<string, readonly IpAddr[]>()

  constructor(needs: { clock: Clock; resolve?: Resolve }, options: { endpoints: readonly string[] }) {
    this.#clock = needs.clock
    this.#resolve = needs.resolve ?? resolveName
    const hosts = options.endpoints.flatMap((text) => hostOf(text) ?? [])
    this.#given = hosts.flatMap((host) => parseIp(host) ?? [])
    this.#names = hosts.filter((host) => parseIp(host) === undefined)
    this.#tell()
  }

  /** Sorted. */
  get current(): readonly IpAddr[] {
    return this.changes.current ?? []
  }

  /** Asks for the names once, no longer than a second. */
  async first(signal: AbortSignal): Promise<void> {
    if (this.#names.length === 0) return
    const answered = new AbortController()
    await untilFirst([signal, answered.signal], async (stop) => {
      const late = this.#clock.sleep(FIRST_MS, stop).catch(() => {})
      await Promise.race([this.#ask(), late])
      answered.abort()
    })
  }

  async run(signal: AbortSignal): Promise<void> {
    while (this.#names.length > 0 && !signal.aborted) {
      await this.#clock.sleep(AGAIN_MS, signal).catch(() => {})
      if (!signal.aborted) await this.#ask()
    }
  }

  async #ask(): Promise<void> {
    const ask = async (name: string) => {
      const answer = await this.#resolve(name).catch(() => undefined)
      if (answer === undefined) return
      this.#answers.set(
        name,
        answer.flatMap((text) => parseIp(text) ?? []),
      )
    }
    await Promise.all(this.#names.map(ask))
    this.#tell()
  }

  #tell(): void {
    const addresses = [...new Set([...this.#given, ...[...this.#answers.values()].flat()])].sort()
    if (this.changes.current === undefined || addresses.join() !== this.current.join()) this.changes.set(addresses)
  }
}

async function resolveName(name: string): Promise<readonly string[]> {
  return (await lookup(name, { all: true })).map(({ address }) => address)
}

// Whether an endpoint can be used was checked before: what is none is left out.
function hostOf(endpoint: string): string | undefined {
  const text = endpoint.trim()
  if (/^unixs?:/i.test(text)) return undefined
  const url = text.includes('://') ? text : `http://${text}`
  if (!URL.canParse(url)) return undefined
  return new URL(url).hostname.replace(/^\[|\]$/g, '') || undefined
}

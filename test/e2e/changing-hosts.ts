import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import type { PingJudge } from '../../lab/ping-judge.ts'
import { type Cidr, networkAddress } from '../../lib/address.ts'
import { status, until } from './world.ts'

interface End {
  /** What all send by, to each other's containers; or what one host sends to the other one by. */
  readonly device: string | ((from: Host, to: Host) => string)
  /** The devices of flannel that each has; undefined where it has none. */
  readonly tunnel?: string | readonly string[] | undefined
  /** Where the new way does not lead to, so that the change goes on and names who keeps the old one. Everywhere by default. */
  readonly leadsTo?: (from: Host, to: Host) => boolean
  /** All hosts by default. */
  readonly who?: readonly Host[]
  readonly ms?: number
}

/** That they are so at this moment. */
export async function assertSettled(hosts: readonly Host[], end: Omit<End, 'ms'>): Promise<void> {
  const { device, tunnel, leadsTo = () => true, who = hosts } = end
  const deviceOf = typeof device === 'string' ? () => device : device
  for (const host of who) {
    const others = who.filter((to) => to !== host)
    for (const to of others) assert.equal(await sendsBy(host, to), deviceOf(host, to), `${host.label} to ${to.label}`)
    const { backendChange, notReady } = await status(host)
    assert.deepEqual(notReady, [])
    const reached = others.filter((to) => leadsTo(host, to))
    if (reached.length === others.length) {
      assert.equal(backendChange, null, JSON.stringify(backendChange))
      assert.doesNotMatch(await host.ip('rule'), /847/)
    } else assertReached(backendChange, { moved: reached.length, total: others.length })
    const names = (await host.ipJson('link')).map(({ ifname }) => String(ifname))
    const tunnels = tunnel === undefined ? [] : [tunnel].flat()
    assert.deepEqual(names.filter((name) => name.startsWith('flannel')).sort(), [...tunnels].sort())
  }
}

interface Change {
  readonly peers: { readonly moved: number; readonly total: number }
  readonly waiting: readonly { readonly reason: string }[]
}

/** Hosts whose containers ping each other, each every other one, while the backend changes. */
export class ChangingHosts {
  /** One for each ordered pair and family. */
  readonly judges: readonly PingJudge[]
  readonly #hosts: readonly Host[]

  private constructor(hosts: readonly Host[], intervalMs: number, addressesOf: (host: Host) => readonly string[]) {
    this.#hosts = hosts
    this.judges = hosts.flatMap((from) =>
      hosts.flatMap((to) =>
        from === to ? [] : addressesOf(to).map((address) => from.container('c1').startPing(address, intervalMs)),
      ),
    )
  }

  /** Each has a container `c1`; `addressesOf`: of that, all that it has by default. */
  static async start(
    hosts: readonly Host[],
    intervalMs = 20,
    addressesOf = (host: Host): readonly string[] => host.container('c1').addresses,
  ): Promise<ChangingHosts> {
    const changing = new ChangingHosts(hosts, intervalMs, addressesOf)
    try {
      await Promise.all(changing.judges.map((judge) => judge.answered(AbortSignal.timeout(30_000))))
    } catch (cause) {
      await changing.stop()
      throw cause
    }
    return changing
  }

  async stop(): Promise<void> {
    await Promise.all(this.judges.map((judge) => judge.stop().catch(() => undefined)))
  }

  /** No change is under way that could end, all send by what is given, and nothing else is left; `rest`: what the store says of each. */
  async settled({ ms = 60_000, ...end }: End, rest: (host: Host) => Promise<void>): Promise<void> {
    await until(ms, 'all send by what they shall', async () => {
      await assertSettled(this.#hosts, end)
      for (const host of end.who ?? this.#hosts) await rest(host)
    })
  }

  /** Also of what is sent from now on. */
  async nothingLost(): Promise<void> {
    const sent = this.judges.map((judge) => judge.verdict().sent)
    await until(20_000, 'more packets', async () => {
      for (const [n, judge] of this.judges.entries()) assert.ok(judge.verdict().sent > (sent[n] ?? 0) + 25)
    })
    for (const judge of this.judges) assert.deepEqual([judge.address, judge.verdict().lost], [judge.address, 0])
  }
}

/** So many peers have moved, and of the others the change says that the new way does not lead to them. */
function assertReached(change: Change | null, peers: Change['peers']): void {
  const kept = change?.waiting.filter(({ reason }) => reason.includes('does not lead to it')) ?? []
  assert.deepEqual([change?.peers, kept.length], [peers, peers.total - peers.moved], JSON.stringify(change))
}

/** The device by which a host's packets to the other one's container go. */
export async function sendsBy(host: Host, to: Host): Promise<unknown> {
  const [route] = await host.ipJson('route', 'get', to.container('c1').address)
  return route?.['dev']
}

/** What an operator should know beside what is as it should be. */
export async function told(host: Host): Promise<readonly Told[]> {
  return (await status(host)).conditions.filter(({ severity }: { severity: string }) => severity !== 'info')
}

export interface Told {
  readonly code: string
  readonly text: string
  readonly remedy: string
}

/** Through the tunnel of IPv6, from device to device. */
export async function reachesByIpv6(from: Host, to: Host): Promise<void> {
  const device = networkAddress(String((await to.subnetEnv()).families.at(-1)?.subnet) as Cidr)
  await until(5_000, `${from.label} -> ${to.label}`, async () =>
    assert.equal((await from.ping(device, { count: 2, interval: 20 })).received, 2),
  )
}

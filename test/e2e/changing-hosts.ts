import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import type { PingJudge } from '../../lab/ping-judge.ts'
import { status, until } from './world.ts'

interface End {
  /** What all send by, to each other's containers. */
  readonly device: string
  /** The devices of flannel that each has; undefined where it has none. */
  readonly tunnel?: string | readonly string[] | undefined
  /** All hosts by default. */
  readonly who?: readonly Host[]
  readonly ms?: number
}

/** Hosts whose containers ping each other, each every other one, while the backend changes. */
export class ChangingHosts {
  /** One for each ordered pair and family. */
  readonly judges: readonly PingJudge[]
  readonly #hosts: readonly Host[]

  private constructor(hosts: readonly Host[], intervalMs: number) {
    this.#hosts = hosts
    this.judges = hosts.flatMap((from) =>
      hosts.flatMap((to) =>
        from === to
          ? []
          : to.container('c1').addresses.map((address) => from.container('c1').startPing(address, intervalMs)),
      ),
    )
  }

  /** Each has a container `c1`. */
  static async start(hosts: readonly Host[], intervalMs = 20): Promise<ChangingHosts> {
    const changing = new ChangingHosts(hosts, intervalMs)
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

  /** No change is under way, all send by the one device, and nothing else is left; `rest`: what the store says of each. */
  async settled(end: End, rest: (host: Host) => Promise<void>): Promise<void> {
    const { device, tunnel, who = this.#hosts, ms = 60_000 } = end
    await until(ms, `all send by ${device}`, async () => {
      for (const host of who) {
        const { backendChange, notReady } = await status(host)
        assert.deepEqual([backendChange, notReady], [null, []], JSON.stringify(backendChange))
        for (const to of who)
          if (to !== host) assert.equal(await sendsBy(host, to), device, `${host.label} to ${to.label}`)
        const names = (await host.ipJson('link')).map(({ ifname }) => String(ifname))
        const tunnels = tunnel === undefined ? [] : [tunnel].flat()
        assert.deepEqual(names.filter((name) => name.startsWith('flannel')).sort(), [...tunnels].sort())
        assert.doesNotMatch(await host.ip('rule'), /847/)
        await rest(host)
      }
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

/** The device by which a host's packets to the other one's container go. */
export async function sendsBy(host: Host, to: Host): Promise<unknown> {
  const [route] = await host.ipJson('route', 'get', to.container('c1').address)
  return route?.['dev']
}

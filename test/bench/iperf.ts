import type { Namespace } from '../../lab/namespace.ts'
import type { IpAddr } from '../../lib/address.ts'

/** As many datagrams of 64 bytes as go. */
export const SMALL_DATAGRAMS: readonly string[] = ['-u', '-b', '0', '-l', '64']

interface Ends {
  readonly from: Namespace
  /** Where `iperf3 -s` runs. */
  readonly address: IpAddr
}

/** Its report as JSON. */
// biome-ignore lint/suspicious/noExplicitAny: the shape is iperf3's
export async function iperf({ from, address }: Ends, seconds: number, args: readonly string[]): Promise<any> {
  const argv = ['iperf3', '-J', '-c', address, '-t', String(seconds), ...args]
  const { stdout } = await from.exec(argv, { timeout: (seconds + 60) * 1000 })
  return JSON.parse(stdout)
}

export async function gigabitsPerSecond(ends: Ends, seconds: number, streams = 1): Promise<number> {
  const { end } = await iperf(ends, seconds, ['-P', String(streams)])
  return end.sum_received.bits_per_second / 1e9
}

/** What the receiver counted: flooded, the sender's number says nothing. */
export async function smallDatagramsPerSecond(ends: Ends, seconds: number): Promise<number> {
  const { end } = await iperf(ends, seconds, SMALL_DATAGRAMS)
  const { packets, lost_packets: lost } = end.sum_received ?? end.sum
  return (packets - lost) / seconds
}

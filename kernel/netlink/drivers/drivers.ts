import type { DriverCodec } from './driver-codec.ts'
import { ipipCodec } from './ipip.ts'
import { tunCodec } from './tun.ts'
import { vxlanCodec } from './vxlan.ts'

const CODECS: readonly DriverCodec[] = [vxlanCodec, ipipCodec, tunCodec]

/** Undefined for a kind that this program neither makes nor looks into. */
export function codecFor(kind: string): DriverCodec | undefined {
  return CODECS.find(({ type }) => type === kind)
}

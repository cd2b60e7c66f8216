import type { KernelObject } from '../objects.ts'
import type { Op, OpError, OpResult } from '../table.ts'
import type { NetlinkChannel } from './channel.ts'
import type { DeviceIndex } from './device-index.ts'
import type { NexthopIds } from './nexthop-ids.ts'

export interface NetlinkNeeds {
  readonly channel: NetlinkChannel
  readonly devices: DeviceIndex
  readonly nexthops: NexthopIds
}

export type OnDevice = KernelObject & { readonly device?: string }

/** Verdicts of the kernel on `ops`, one message each, in order; undefined for success. */
export async function sendOps<O extends OnDevice>(
  needs: NetlinkNeeds,
  ops: readonly Op<O>[],
  build: (op: Op<O>, index: number) => Uint8Array,
): Promise<(OpError | undefined)[]> {
  const { channel, devices } = needs
  if (ops.some(({ object }) => indexFor(devices, object) === undefined)) await devices.refresh()
  const indexes = ops.map(({ object }) => indexFor(devices, object))
  const known = ops.flatMap((op, at) => (indexes[at] === undefined ? [] : [{ op, at, index: indexes[at] }]))
  const verdicts: (OpError | undefined)[] = ops.map(({ object }) => missingDevice(object))
  const send = async (some: typeof known) => {
    const answers = await channel.request(messages(some, build))
    for (const [turn, { at }] of some.entries()) verdicts[at] = answers[turn]
  }
  await send(known)

  // The device was made anew since its number was learnt.
  if (known.some(({ at }) => verdicts[at]?.code === 'ENODEV')) {
    await devices.refresh()
    await send(
      known.flatMap((entry) => {
        const index = indexFor(devices, entry.op.object)
        const stale = verdicts[entry.at]?.code === 'ENODEV' && index !== undefined && index !== entry.index
        return stale ? [{ ...entry, index }] : []
      }),
    )
  }
  return verdicts
}

export function resultOf(verdict: OpError | undefined): OpResult {
  return verdict === undefined ? SUCCESS : { ok: false, error: verdict }
}

const SUCCESS: OpResult = { ok: true }

/** Lazily, so that only one batch of messages exists at a time. */
function* messages<O extends OnDevice>(
  entries: readonly { op: Op<O>; index: number }[],
  build: (op: Op<O>, index: number) => Uint8Array,
): Generator<Uint8Array> {
  for (const { op, index } of entries) yield build(op, index)
}

function indexFor(devices: DeviceIndex, object: OnDevice): number | undefined {
  return object.device === undefined ? 0 : devices.indexOf(object.device)
}

export function missingDevice(object: { readonly device?: string }): OpError {
  return { code: 'ENODEV', message: `there is no device ${object.device}` }
}

import type { Cidr, IpAddr } from '../../../lib/address.ts'
import type { NetlinkNeeds } from '../../netlink/device-batch.ts'
import { deleteRoute, writeRoute } from '../../netlink/route-messages.ts'
import type { OpError } from '../../table.ts'
import type { Route } from './kind.ts'
import { ROUTE_PROTOCOL } from './numbers.ts'

/** Metric of a route that exists for the blink of a replacement, so that it meets no other. */
const DETOUR_METRIC = 4_294_967_293

/**
 * IPv6 looks up an on-link gateway as an address. While a route leads to it over another device (a direct path whose peer goes back
 * into the tunnel, another backend: the gateway lies in the very subnet), whatever names it as the gateway is refused as a mismatch. So the message is
 * put between two others that make and delete a route to the gateway; in one batch, packets to the gateway's own address take the
 * detour for as long as the kernel handles three messages. Should we die in between, it is a route of ours that nobody wants.
 */
export async function byDetour(
  { channel, devices }: Pick<NetlinkNeeds, 'channel' | 'devices'>,
  { device, via }: { readonly device: string; readonly via: IpAddr },
  message: (index: number) => Uint8Array,
): Promise<OpError | undefined> {
  const index = devices.indexOf(device) ?? 0
  const detour: Route = {
    kind: 'route',
    family: 6,
    dst: `${via}/128` as Cidr,
    metric: DETOUR_METRIC,
    type: 'unicast',
    device,
    protocol: ROUTE_PROTOCOL,
  }
  const batch = [writeRoute(detour, { index }, 'create'), message(index), deleteRoute(detour, { index })]
  const [, verdict] = await channel.request(batch)
  return verdict
}

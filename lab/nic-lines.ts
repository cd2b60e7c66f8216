import type { Nic } from './layout.ts'
import { controlPlane } from './layout.ts'

/** Lines for `ip -batch` inside a host: addresses and routes of one interface. May be given again after a link-down. */
export function nicLines(nic: Nic): readonly string[] {
  return [
    ...nic.addresses.map(
      (address) => `addr replace ${address} dev ${nic.device}${address.includes(':') ? ' nodad' : ''}`,
    ),
    ...nic.gateways.map((gateway) => route(nic, gateway)),
  ].filter((line) => line !== undefined)
}

function route(nic: Nic, gateway: string): string | undefined {
  const destination = nic.defaultRoute ? 'default' : wayToControlPlane(nic, gateway)
  return destination && `route replace ${destination} via ${gateway} dev ${nic.device}`
}

function wayToControlPlane(nic: Nic, gateway: string): string | undefined {
  return nic.device === 'eth0' && !gateway.includes(':') ? controlPlane.subnet : undefined
}

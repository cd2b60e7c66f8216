import type { HostAddress, HostInterface } from '../../kernel/host.ts'
import { familyOf, type IpAddr } from '../../lib/address.ts'

/** An address as an operator would have set it by hand. */
export function address(text: string, more: Partial<HostAddress> = {}): HostAddress {
  const family = familyOf(text as IpAddr)
  const scope = /^fe80:|^169\.254\./.test(text) ? 'link' : /^127\.|^::1$/.test(text) ? 'host' : 'global'
  return {
    family,
    address: text as IpAddr,
    length: family === 4 ? 24 : 64,
    scope,
    deprecated: false,
    temporary: false,
    permanent: true,
    tentative: false,
    duplicate: false,
    ...more,
  }
}

/** A network card that is up. */
export function device(
  name: string,
  index: number,
  addresses: readonly (string | HostAddress)[] = [],
  more: Partial<HostInterface> = {},
): HostInterface {
  return {
    name,
    index,
    mtu: 1500,
    up: true,
    running: true,
    loopback: name === 'lo',
    mac: undefined,
    kind: '',
    master: 0,
    addresses: addresses.map((each) => (typeof each === 'string' ? address(each) : each)),
    ...more,
  }
}

import { LOOPBACK } from '../kernel/kinds/address/kind.ts'
import type { IptablesChain } from '../kernel/kinds/iptables-chain/kind.ts'
import { BOOT_PROTOCOL, type KernelObject, type Link, type Route } from '../kernel/objects.ts'
import { ruleWords } from '../kernel/rules/iptables-words.ts'
import { instanceOfChain, instanceOfTable, isMarkTable } from '../kernel/rules/names.ts'

/**
 * Of this instance's objects those that flannel takes over at its start as if it had made them, in the form in which it
 * would have made them; without the rest it makes its own. Pure.
 *
 * Left out are the devices of both udp engines (flannel makes a tun of its own, under another name if there is one
 * already), devices under a second name, which they have had since a live change, addresses that stay on the loopback device, blackhole routes (flannel's stands at another metric), the ingress guard (nobody would let new peers in) and all that bears a name of ours.
 */
export function adoptedByFlannel(objects: readonly KernelObject[]): readonly KernelObject[] {
  const links = objects.filter((object) => object.kind === 'link')
  const going = new Set(links.filter((link) => !isAdopted(link)).map(({ name }) => name))
  return objects.flatMap<KernelObject>((object) => {
    switch (object.kind) {
      case 'link':
        return isAdopted(object) ? [object] : []
      case 'address':
        return object.device === LOOPBACK || going.has(object.device) ? [] : [object]
      case 'neighbour':
      case 'fdb':
        return going.has(object.device) ? [] : [object]
      case 'route':
        return adoptedRoute(object, going)
      case 'iptables-chain':
        return adoptedChain(object)
      case 'nft-table':
        // flannel empties its chains before it fills them, in one transaction.
        return bearsFlannelsName(object) ? [object] : []
      default:
        return []
    }
  })
}

/** Rules that flannel itself would find: it and the default instance use the same names. */
export function bearsFlannelsName(object: KernelObject): boolean {
  if (object.kind === 'iptables-chain') return instanceOfChain(object.name) === ''
  return object.kind === 'nft-table' && instanceOfTable(object.name) === '' && !isMarkTable(object.name)
}

function isAdopted({ name, driver }: Link): boolean {
  if (driver.type === 'vxlan') return /^flannel(-v6)?\.\d+$/.test(name)
  return name === 'flannel.ipip' && driver.type === 'ipip' && driver.encapsulation === undefined
}

/** With flannel's own mark, and with a gateway of their own: it neither finds nor removes routes by ours, nor those through nexthop objects. */
function adoptedRoute({ nexthop: _nexthop, ...route }: Route, going: ReadonlySet<string>): readonly Route[] {
  const { type, via, device } = route
  if (type !== 'unicast' || via === undefined || device === undefined || going.has(device)) return []
  return [{ ...route, protocol: BOOT_PROTOCOL }]
}

/** flannel looks whether each of its rules is there: what else stands between them would stay for ever. */
function adoptedChain(chain: IptablesChain): readonly IptablesChain[] {
  const jumps = chain.jumps.filter(({ from }) => from === 'POSTROUTING' || from === 'FORWARD')
  if (!bearsFlannelsName(chain) || jumps.length === 0) return []
  return [{ ...chain, jumps, rules: chain.rules.filter((rule) => !isExemption(rule)) }]
}

/** Made by `--masq-exempt`: of flannel's rules that return, each has a mark or a source. */
function isExemption(rule: string): boolean {
  const words = ruleWords(rule)
  return words.includes('RETURN') && !words.includes('-s') && !words.includes('--mark')
}

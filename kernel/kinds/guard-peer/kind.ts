import { type Family, type IpAddr, ipToBytes } from '../../../lib/address.ts'
import { instanceOfGuard } from '../../rules/names.ts'
import { nftName } from '../../rules/nft-text.ts'
import { joinedKey, type Kind } from '../kind.ts'

/** All that the guard accepts from one peer in one family; its elements bear the name as their comment. */
export interface GuardPeer {
  readonly kind: 'guard-peer'
  readonly table: string
  readonly family: Family
  /** The peer's subnet, or the address that these elements are about; with a `?` for elements that nobody's name is on. */
  readonly name: string
  /** What is the peer's: its subnet, by its `prefixKey` (lib/prefix-key.ts), as wherever a subnet stands in an element. */
  readonly subnets: readonly IpAddr[]
  /** Sources of outer packets. */
  readonly vteps: readonly IpAddr[]
  /** Which inner sources an outer packet may carry, by its own source. Those of `aliases` are understood. */
  readonly paths: readonly Path[]
  /** Further sources of outer packets; where one bears another peer's name already, that is enough. Absent of what was read. */
  readonly aliases?: readonly IpAddr[]
  /** By device, the subnets that inner packets may come from. */
  readonly senders: readonly Sender[]
}

export interface Sender {
  readonly device: string
  readonly source: IpAddr
}

/** `source`: a subnet. */
export interface Path {
  readonly outer: IpAddr
  readonly source: IpAddr
}

export const guardPeer: Kind<GuardPeer> = {
  name: 'guard-peer',
  events: true,
  removed: true,
  key: ({ table, name }) => joinedKey('guard-peer', table, name),
  compare: (actual, desired) => (sameElements(actual, desired) ? 'same' : 'update'),
  ownership: ({ table }, _wanted, { scope }) =>
    instanceOfGuard(table) === (scope.instance ?? '') ? 'ours' : 'foreign',
  describe({ name, vteps, senders }) {
    const inner = senders.map(({ device, source }) => `${source} by ${device}`)
    return `guard lets in ${name}: outer ${vteps.join(' ') || 'none'}; inner ${inner.join(', ') || 'none'}`
  },
  commands: {
    create: (object) => elementCommands('add', object),
    update: (object, actual) => [...elementCommands('delete', actual), ...elementCommands('add', object)],
    remove: (object) => elementCommands('delete', object).join('\n'),
  },
}

export function sameSender(a: Sender, b: Sender): boolean {
  return a.source === b.source && a.device === b.device
}

export function samePath(a: Path, b: Path): boolean {
  return a.source === b.source && a.outer === b.outer
}

function sameElements(actual: GuardPeer, desired: GuardPeer): boolean {
  return (
    actual.family === desired.family &&
    actual.senders.length === desired.senders.length &&
    actual.subnets.length === desired.subnets.length &&
    actual.subnets.every((subnet) => desired.subnets.includes(subnet)) &&
    desired.paths.every((path) => actual.paths.some((other) => samePath(path, other))) &&
    actual.paths.every(
      (path) => desired.aliases?.includes(path.outer) || desired.paths.some((other) => samePath(path, other)),
    ) &&
    desired.vteps.every((vtep) => actual.vteps.includes(vtep)) &&
    actual.vteps.every((vtep) => desired.vteps.includes(vtep) || desired.aliases?.includes(vtep)) &&
    (actual.aliases === undefined || actual.aliases.join() === desired.aliases?.join()) &&
    actual.senders.every((sender) => desired.senders.some((other) => sameSender(sender, other)))
  )
}

function elementCommands(verb: 'add' | 'delete', peer: GuardPeer): readonly string[] {
  const { table, family, name, vteps, senders } = peer
  const comment = verb === 'add' ? ` comment "${name}"` : ''
  const line = (set: string, elements: readonly string[]) =>
    elements.length === 0
      ? []
      : [
          `nft '${verb} element inet ${table} ${set}${family} { ${elements.map((text) => `${text}${comment}`).join(', ')} }'`,
        ]
  return [
    ...line('subnets', peer.subnets.map(numberText)),
    ...line(
      'paths',
      peer.paths.map(({ outer, source }) => `${outer} . ${numberText(source)}`),
    ),
    ...line('vteps', [...vteps, ...(peer.aliases ?? [])]),
    ...line(
      'senders',
      senders.map(({ device, source }) => `${nftName(device)} . ${source}`),
    ),
  ]
}

/** An address in a key that nft takes for a number: it knows what stands at an offset by its bits only. */
export function numberText(address: IpAddr): string {
  return `0x${Buffer.from(ipToBytes(address)).toString('hex')}`
}

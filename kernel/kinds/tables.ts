import type { Clock } from '../../lib/clock.ts'
import type { NetlinkNeeds } from '../netlink/device-batch.ts'
import type { GenericNetlink } from '../netlink/generic.ts'
import type { OpenRules } from '../rules/open-rules.ts'
import type { ObjectTable } from '../table.ts'
import { AddressTable } from './address/table.ts'
import { FdbTable } from './fdb/table.ts'
import { FileTable } from './file/table.ts'
import { FouPortTable } from './fou-port/table.ts'
import { GuardChainsTable } from './guard-chains/table.ts'
import { GuardPeersTable } from './guard-peer/table.ts'
import { GuardSetsTable } from './guard-sets/table.ts'
import { IptablesTable } from './iptables-chain/table.ts'
import type { KernelObject, ObjectKind } from './kinds.ts'
import { LinkTable } from './link/table.ts'
import { NeighbourTable } from './neighbour/table.ts'
import { NexthopTable } from './nexthop/table.ts'
import { NftablesTable } from './nft-table/table.ts'
import { ProbeRouteTable } from './probe-route/table.ts'
import { ProbeRuleTable } from './probe-rule/table.ts'
import { RouteTable } from './route/table.ts'
import { SysctlTable } from './sysctl/table.ts'

export interface TableNeeds extends NetlinkNeeds {
  readonly clock: Clock
  readonly generic: GenericNetlink | undefined
  readonly rules: OpenRules
}

/** Of these the objects live in this process, and the backend that has them makes their tables. */
type ProcessKind = 'udp-peer' | 'udp-proxy'

/** A table of each kind, or this file does not compile. */
type HostTables = {
  readonly [K in Exclude<ObjectKind, ProcessKind>]: ObjectTable<Extract<KernelObject, { readonly kind: K }>>
}

/** The tables of this host. */
export function openTables({ generic, rules, clock, ...needs }: TableNeeds): HostTables {
  return {
    'fou-port': new FouPortTable({ generic, clock }),
    link: new LinkTable(needs),
    sysctl: new SysctlTable(needs),
    address: new AddressTable(needs),
    'guard-sets': new GuardSetsTable(rules),
    'guard-peer': new GuardPeersTable(rules),
    neighbour: new NeighbourTable(needs),
    fdb: new FdbTable(needs),
    nexthop: new NexthopTable(needs),
    route: new RouteTable(needs),
    'probe-route': new ProbeRouteTable(needs),
    'probe-rule': new ProbeRuleTable(needs),
    'iptables-chain': new IptablesTable(rules),
    'nft-table': new NftablesTable(rules),
    'guard-chains': new GuardChainsTable(rules),
    file: new FileTable({ clock }),
  }
}

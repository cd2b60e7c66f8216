import type { Failure } from '../../kernel/desired.ts'
import type { Obstacle, PacketPath } from '../../kernel/obstacles/packet-path.ts'
import type { IptablesWorld } from '../../kernel/rules/iptables-words.ts'
import type { SubnetFile } from '../state/subnet-file.ts'
import type { Condition } from '../status/status.ts'

/** What the checks judge: plain values, as they were read. A part that was not read is absent, and nothing is said of it. */
export interface Facts {
  /** An option that asks for what is not there yet. */
  readonly unavailable?: { readonly fault: string }
  readonly variables?: VariableFacts
  /** Why this process may not change the network; undefined: it may. */
  readonly permission?: { readonly fault: string | undefined }
  readonly store?: StoreFacts
  readonly outlook?: OutlookFacts
  readonly docker?: DockerFacts
  readonly daemons?: DaemonFacts
}

/** Who else writes subnet.env. */
export interface DaemonFacts {
  readonly subnetPath: string
  /** Daemons of flannel that run and write this file. */
  readonly flannels: readonly { readonly pid: number; readonly program: string }[]
  /** The daemon of this program that runs and serves the file. */
  readonly ours: number | undefined
  /** What that daemon has seen of others. */
  readonly seen?: readonly Condition[]
}

/** Variables by the names that older packages of distributions gave them (`FLANNEL_ETCD_ENDPOINTS`). */
export interface VariableFacts {
  readonly found: readonly { readonly where: string; readonly name: string; readonly value: string }[]
  /** What this program was given by flag or by its own variables. */
  readonly given: ReadonlySet<string>
}

export interface StoreFacts {
  /** Key of the configuration. */
  readonly key: string
  readonly tls: TlsFileFacts
  /** Over gRPC, as the daemon asks. */
  readonly answer: StoreAnswer | { readonly fault: string }
  /** Over plain HTTP, from each endpoint that speaks it. */
  readonly members: readonly StoreMember[]
  /** The configuration as version 2 of etcd's API has it. */
  readonly v2Config?: string
}

export interface StoreAnswer {
  readonly config: string | undefined
  /** Why leases could not be written; undefined: they could. */
  readonly writeFault: string | undefined
}

export interface StoreMember {
  readonly endpoint: string
  readonly version: string | undefined
  /** Its clock less this host's, in milliseconds. */
  readonly aheadMs: number | undefined
}

export interface TlsFileFacts {
  /** Why a file could not be read, or not be used. */
  readonly fault?: string
  readonly certificates: readonly { readonly path: string; readonly validFrom: number; readonly validTo: number }[]
  /** A key that every user of this host may read. */
  readonly openKey?: string
  /** Milliseconds since 1970 when they were read. */
  readonly now: number
}

/** What the daemon would plan here now, or why it would not. */
export type OutlookFacts = { readonly fault: string; readonly remedy: string } | Planned

export interface Planned {
  readonly backend: string
  readonly uplink: { readonly name: string; readonly mtu: number; readonly reason: string }
  readonly warnings: readonly string[]
  /** Why no subnet could be leased. */
  readonly leaseConflict?: string
  /** Lease and node that have this host's public address. */
  readonly askedFirst?: { readonly id: string; readonly node: string }
  readonly conditions: readonly Condition[]
  /** Absent where there is no plan, for want of a lease. */
  readonly plan?: PlanFacts
}

export interface PlanFacts {
  /** Of the overlay, in bytes. */
  readonly mtu: number
  readonly modules: readonly { readonly name: string; readonly state: 'there' | 'loadable' | 'missing' | 'unknown' }[]
  readonly failures: readonly Failure[]
  readonly obstacles: readonly { readonly path: PacketPath; readonly found: readonly Obstacle[] }[]
  /** Where iptables' rules of ours go; undefined: nowhere. */
  readonly ownRules: IptablesWorld | undefined
  /** UDP ports that tunnels come in by, and TCP ports that are listened at, with who has them now. */
  readonly ports: readonly { readonly port: string; readonly holder: string | undefined }[]
  readonly sysctls: readonly SysctlFacts[]
  /** rp_filter of the external interface, and peers that this host reaches by other ones. */
  readonly strictUplink?: { readonly sysctl: string; readonly elsewhere: readonly string[] }
}

export interface SysctlFacts {
  readonly path: string
  /** Undefined: the kernel has none of this name. */
  readonly value: string | undefined
  readonly wanted: string
  readonly writable: boolean
  readonly remedy: string
}

export interface DockerFacts {
  /** Of daemon.json; absent: there is none. */
  readonly file?: { readonly path: string; readonly text: string }
  /** What systemd would start, resolved. */
  readonly unit?: DockerUnit
  readonly processes: readonly DockerProcess[]
  /** What the daemon has written. */
  readonly subnetFile?: SubnetFile
  readonly subnetPath: string
  /** Containers get their addresses by CNI here, and Docker need not know of the subnet. */
  readonly hasCni: boolean
  /** Of each device, with the lengths of their prefixes. Without a bridge that nobody is connected to. */
  readonly addresses: ReadonlyMap<string, readonly string[]>
}

export interface DockerUnit {
  /** dockerd's words, variables replaced. */
  readonly words: readonly string[]
  /** Files of variables that the unit needs and that are not there. */
  readonly missing: readonly string[]
  /** What makes a restart of flanneld one of Docker: a link of `RequiredBy=`, or `Requires=` and the like in the unit and its drop-ins. */
  readonly ties: readonly string[]
  /** Enabled, itself or by its socket. */
  readonly isEnabled: boolean
}

export interface DockerProcess {
  readonly pid: number
  readonly words: readonly string[]
  readonly uid: number
  /** In this network namespace. */
  readonly here: boolean
}

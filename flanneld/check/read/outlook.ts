import { accessSync, constants } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { HostInterface, HostKernel } from '../../../kernel/host.ts'
import { createKernel, type Kernel } from '../../../kernel/kernel.ts'
import { portHolder, UNSEEN } from '../../../kernel/kinds/holders.ts'
import { kindOf } from '../../../kernel/kinds/kinds.ts'
import type { DesiredObject } from '../../../kernel/objects.ts'
import { withJournal } from '../../../kernel/reconciler/journal.ts'
import { preview } from '../../../kernel/reconciler/preview.ts'
import { type Clock, withDeadline } from '../../../lib/clock.ts'
import { ConfigError, messageOf, PermissionError } from '../../../lib/errors.ts'
import { NoInterfaceError } from '../../host/external-interface.ts'
import type { HostView } from '../../host/host-view.ts'
import type { Folded } from '../../node/fold.ts'
import { lookAhead } from '../../node/look-ahead.ts'
import type { Options } from '../../options/options.ts'
import type { ProcessPort } from '../../process-port.ts'
import { bootMark } from '../../state/boot-mark.ts'
import { instanceOf } from '../../state/instance.ts'
import { lockFileOf } from '../../state/instance-lock.ts'
import { NOTHING_ON_RECORD, type PeekedState, peekState } from '../../state/state-dir.ts'
import type { OutlookFacts, PlanFacts, SysctlFacts } from '../facts.ts'
import { readModules } from './modules.ts'

/** A store with 5,000 leases on a slow host. */
const PLAN_MS = 15_000

/** What the daemon would plan on this host now, and what stands in the way of it. */
export async function readOutlook(
  needs: { readonly clock: Clock; readonly port: ProcessPort },
  options: Options,
): Promise<OutlookFacts> {
  let kernel: Kernel | undefined
  try {
    const opened = await createKernel()
    kernel = opened
    // There the subnet is given to the Node, not chosen.
    const leases = options.kubeSubnetMgr ? 'held' : 'presumed'
    const state = (await peekState(instanceOf(options).stateDir, needs.port.uid, await bootMark())) ?? NOTHING_ON_RECORD
    const { configuration, levels, folded, presumed, conditions } = await withDeadline(
      PLAN_MS,
      needs.port.stop,
      (stop) => lookAhead({ ...needs, kernel: opened }, { options, state, leases }, stop),
    )
    const { host, traffic } = levels
    if (host === undefined) throw new TypeError('a plan without a host')
    const { conflict, askedFirst } = presumed ?? {}
    const ownRules = traffic?.tool === 'iptables' && traffic.forward ? traffic.world : undefined
    return {
      backend: configuration.backend.type,
      uplink: host.external,
      warnings: configuration.warnings,
      conditions,
      ...(conflict !== undefined && { leaseConflict: conflict }),
      ...(askedFirst && { askedFirst }),
      ...(folded && { plan: await readPlan({ kernel, host, state, options }, folded, ownRules) }),
    }
  } catch (cause) {
    return { fault: faultOf(cause), remedy: remedyOf(cause) }
  } finally {
    kernel?.close()
  }
}

function faultOf(cause: unknown): string {
  const isLate = cause instanceof DOMException && cause.name === 'TimeoutError'
  return isLate ? `the store of leases or this host has not told all within ${PLAN_MS / 1000} s` : messageOf(cause)
}

function remedyOf(cause: unknown): string {
  if (cause instanceof ConfigError) return 'correct this value: the daemon ends with 78 at its start'
  if (cause instanceof PermissionError) return 'run it as root'
  if (cause instanceof NoInterfaceError)
    return 'name the interface that other hosts are reached by: --iface, or the address: --public-ip'
  return '`flanneld -v 1` in the foreground shows how far a start comes'
}

async function readPlan(
  { kernel, host, state, options }: { kernel: Kernel; host: HostView; state: PeekedState; options: Options },
  { plan, verdicts }: Folded,
  ownRules: PlanFacts['ownRules'],
): Promise<PlanFacts> {
  const { ops, failures } = await preview(kernel.tables, withJournal(plan.desired, state.entries))
  const interfaces = await kernel.host.listInterfaces()
  const desired = [...plan.desired.objects.values()]
  const modules = new Set(desired.flatMap((object) => kindOf(object.kind).module?.(object) ?? []))
  const inUse = new Set(interfaces.map(({ kind }) => kind))
  if (await kernel.host.hasFou()) inUse.add('fou')
  const obstacles = await kernel.rules.obstacles.read(plan.packetPaths)
  const makesDevices = ops.some(
    ({ verb, object }) => verb !== 'remove' && verb !== 'update' && ['link', 'fou-port'].includes(object.kind),
  )
  const tunnels = makesDevices ? plan.packetPaths.flatMap(({ outer }) => outer?.port ?? []) : []
  const pid = (await readFile(lockFileOf(options.subnetFile), 'latin1').catch(() => '')).trim()
  const uplink = host.external.name
  const peers = Array.from(verdicts.planned.values(), ({ families }) => families.get(4)?.publicIp).filter(
    (ip) => ip !== undefined,
  )
  return {
    mtu: plan.mtu,
    modules: await readModules(modules, inUse),
    failures: [...failures.values()],
    obstacles: plan.packetPaths.map((path, index) => ({ path, found: obstacles[index] ?? [] })),
    ownRules,
    ports: [...readPorts(new Set(tunnels), interfaces, pid), ...readHealthPort(options.healthzPort, pid)],
    sysctls: readSysctls(desired, kernel.host),
    ...(await readStrictUplink(kernel.host, { desired, uplink, peers })),
  }
}

/** A tunnel of the kernel's shares its port with others of its kind. */
function readPorts(ports: Iterable<number>, interfaces: readonly HostInterface[], pid: string): PlanFacts['ports'] {
  const hasTunnel = interfaces.some(({ kind }) => kind === 'vxlan')
  return [...ports].map((port) => {
    const holder = portHolder('udp', port)
    const isShared = holder === UNSEEN && hasTunnel
    return { port: `${port}/udp`, holder: isShared ? undefined : others(holder, pid) }
  })
}

function readHealthPort(port: number, pid: string): PlanFacts['ports'] {
  return port === 0 ? [] : [{ port: `${port}/tcp`, holder: others(portHolder('tcp', port), pid) }]
}

/** Nobody, where it is the daemon that runs. */
function others(holder: string | undefined, pid: string): string | undefined {
  return pid !== '' && holder?.endsWith(`(pid ${pid})`) ? undefined : holder
}

function readSysctls(desired: readonly DesiredObject[], host: HostKernel): readonly SysctlFacts[] {
  return desired.flatMap((object) => {
    if (object.kind !== 'sysctl') return []
    const { path, value: wanted, role } = object
    const remedy = role.class === 'advisory' ? role.remedy : `sysctl -w ${path.replaceAll('/', '.')}=${wanted}`
    return [{ path, value: host.sysctl(path), wanted, writable: isWritable(`/proc/sys/${path}`), remedy }]
  })
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK)
    return true
  } catch {
    return false
  }
}

/** The filter counts by the larger of the two values. Where the daemon sets it itself, nothing is left to say. */
async function readStrictUplink(
  host: HostKernel,
  {
    desired,
    uplink,
    peers,
  }: { desired: readonly DesiredObject[]; uplink: string; peers: readonly Parameters<HostKernel['routeTo']>[0][] },
): Promise<Pick<PlanFacts, 'strictUplink'>> {
  const paths = [`net/ipv4/conf/${uplink}/rp_filter`, 'net/ipv4/conf/all/rp_filter']
  if (desired.some((object) => object.kind === 'sysctl' && object.path === paths[0])) return {}
  const values = paths.map((path) => host.sysctl(path))
  const strict = paths[values.indexOf('1')]
  if (strict === undefined || values.includes('2')) return {}
  const routes = await host.routesTo(peers)
  const elsewhere = peers.filter((_, index) => (routes[index]?.device ?? uplink) !== uplink)
  return { strictUplink: { sysctl: strict.replaceAll('/', '.'), elsewhere } }
}

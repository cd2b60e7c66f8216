import { run } from './command.ts'
import type { HostLayout, Layout } from './layout.ts'
import { controlPlane } from './layout.ts'
import { nicLines } from './nic-lines.ts'

/** As in `/proc/sys/net/ipv4/conf/DEVICE/rp_filter`: off, strict, loose. */
export type RpFilter = 0 | 1 | 2

/** Makes the namespaces and wires them: few processes, since each costs more than what it does. */
export async function build(layout: Layout, options: { rpFilter: RpFilter; signal: AbortSignal }): Promise<void> {
  const { signal } = options
  const names = [layout.router, layout.controlPlane, ...layout.hosts.map((host) => host.namespace)]
  await run(['ip', '-batch', '-'], { input: lines(names.map((name) => `netns add ${name}`)), timeout: 60_000, signal })
  await inside(layout.router, sysctls(0), routerLines(layout), signal)
  await inParallel(layout.hosts, 4, async (host) => {
    await inside(host.namespace, sysctls(options.rpFilter), hostLines(host, layout.router), signal)
  })
  const plug = layout.hosts.flatMap(plugLines)
  plug.push(`addr add ${controlPlane.router}/24 dev cp`, 'link set cp up')
  await inside(layout.controlPlane, sysctls(0), controlPlaneLines(layout.router), signal)
  await inside(layout.router, [], plug, signal)
}

/** The namespace of one host anew, as a reboot leaves it: empty but for its interfaces. No process may be in it any more. */
export async function rebuildHost(
  host: HostLayout,
  router: string,
  options: { rpFilter: RpFilter; signal: AbortSignal },
): Promise<void> {
  const { signal } = options
  // The kernel takes a namespace down when it finds the time: the names at the router's end must be free before.
  for (const { port } of host.nics) await run(['ip', '-n', router, 'link', 'del', port], { signal })
  await run(['ip', '-batch', '-'], {
    input: lines([`netns del ${host.namespace}`, `netns add ${host.namespace}`]),
    signal,
  })
  await inside(host.namespace, sysctls(options.rpFilter), hostLines(host, router), signal)
  await inside(router, [], plugLines(host), signal)
}

function plugLines(host: HostLayout): readonly string[] {
  return host.nics.map(({ port, bridge }) => `link set ${port} master ${bridge} up`)
}

/** Runs `work` over the items, `width` at a time. The first failure stops the others before their next item, then is thrown. */
export async function inParallel<T>(
  items: readonly T[],
  width: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = [...items]
  const lane = async () => {
    try {
      for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item)
    } catch (cause) {
      queue.length = 0
      throw cause
    }
  }
  const ends = await Promise.allSettled(Array.from({ length: width }, lane))
  for (const end of ends) if (end.status === 'rejected') throw end.reason
}

function routerLines(layout: Layout): readonly string[] {
  return [
    'link set lo up',
    ...layout.segments.flatMap(({ bridge, mtu, gateways }) => [
      // Without snooping and with no forward delay, so that the first packet of a new port passes.
      `link add ${bridge} mtu ${mtu} type bridge forward_delay 0 mcast_snooping 0`,
      ...gateways.map((gateway) => `addr add ${gateway} dev ${bridge}${gateway.includes(':') ? ' nodad' : ''}`),
      `link set ${bridge} up`,
      // A switch does not go dark when its only host leaves: without a port that always forwards, the bridge would lose
      // its carrier and the router its neighbours.
      `link add ${bridge}-on type veth peer name ${bridge}-off`,
      `link set ${bridge}-off addrgenmode none up`,
      `link set ${bridge}-on master ${bridge} addrgenmode none up`,
    ]),
  ]
}

function hostLines(host: HostLayout, router: string): readonly string[] {
  return [
    'link set lo up',
    ...host.nics.flatMap((nic) => [
      `link add ${nic.device} mtu ${nic.mtu} type veth peer name ${nic.port} mtu ${nic.mtu} netns ${router}`,
      `link set ${nic.device} up`,
      ...nicLines(nic),
    ]),
  ]
}

function controlPlaneLines(router: string): readonly string[] {
  return [
    'link set lo up',
    `link add eth0 type veth peer name cp netns ${router}`,
    'link set eth0 up',
    `addr add ${controlPlane.address}/24 dev eth0`,
    `route add default via ${controlPlane.router}`,
  ]
}

const ipv6Conf = '/proc/sys/net/ipv6/conf'

// A real host has its link-local addresses long before a daemon starts: here they must not be tentative for two
// seconds, in which no neighbour would be found. What the daemon makes later goes the ordinary way.
const dadAgain = `if [ -d ${ipv6Conf} ]; then echo 1 > ${ipv6Conf}/default/accept_dad; fi`

// Devices copy `default` when they are made, as on a distribution; `all` stays 0, or no device could be laxer.
function sysctls(rpFilter: RpFilter): readonly string[] {
  return [
    'echo 1 > /proc/sys/net/ipv4/ip_forward',
    'echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter',
    `echo ${rpFilter} > /proc/sys/net/ipv4/conf/default/rp_filter`,
    // A machine may have IPv6 switched off.
    `if [ -d ${ipv6Conf} ]; then echo 1 > ${ipv6Conf}/all/forwarding; echo 0 > ${ipv6Conf}/default/accept_dad; fi`,
  ]
}

async function inside(
  namespace: string,
  shell: readonly string[],
  ipLines: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const script = [...shell, 'ip -batch -', dadAgain].join('\n')
  await run(['nsenter', `--net=/run/netns/${namespace}`, '--', 'sh', '-e', '-c', script], {
    input: lines(ipLines),
    timeout: 60_000,
    signal,
  })
}

function lines(text: readonly string[]): string {
  return text.map((line) => `${line}\n`).join('')
}

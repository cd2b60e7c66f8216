import { execFileSync } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import type { Namespace } from '../../lab/namespace.ts'
import type { Program } from '../../lab/program.ts'
import type { IpAddr } from '../../lib/address.ts'
import { daemonProgram } from '../e2e/world.ts'

/** Two ends between which packets are sent. */
export interface Side {
  readonly name: string
  readonly from: Namespace
  readonly to: Namespace
  readonly address: IpAddr
  /** Of both ends, as they run now: their processor time is the price. */
  daemons(): readonly Program[]
  /** Stops the first host's daemon, waits for its end and starts it. */
  restart(): Promise<void>
  readonly hosts: readonly Host[]
}

export const HEALTH_PORT = 8080
export const NETWORK = '10.5.0.0/16'

/** `ours` and `flannel` are compared; the others say what the machine can do. `fou` needs a kernel that has it (npm run vm). */
const backends: Readonly<Record<string, object | undefined>> = {
  ours: { Type: 'udp', Engine: 'userspace' },
  flannel: { Type: 'udp' },
  fou: { Type: 'udp', Engine: 'kernel' },
  vxlan: { Type: 'vxlan' },
  'host-gw': { Type: 'host-gw' },
  /** Host to host, no container and no tunnel. */
  veth: undefined,
}

export const sideNames: readonly string[] = Object.keys(backends)

/** Two hosts for each side on one link. `peerProgram`: flannel's daemon. */
export async function makeLab(names: readonly string[]): Promise<Lab> {
  const hosts = names.flatMap((name) => [hostName(name, 1), hostName(name, 2)])
  return await Lab.create({ segments: [{ name: 'lan', subnet: '192.168.64.0/24', hosts }] })
}

export async function startSide(lab: Lab, name: string, peerProgram: string): Promise<Side> {
  const hosts = [lab.host(hostName(name, 1)), lab.host(hostName(name, 2))] as const
  const [one, two] = hosts
  const backend = backends[name]
  const start = async (host: Host) => {
    const args = [`--etcd-prefix=/bench/${name}`, `--healthz-port=${HEALTH_PORT}`, '--healthz-ip=127.0.0.1']
    await host.startDaemon({ program: name === 'flannel' ? peerProgram : daemonProgram, args })
  }
  let [from, to, address]: [Namespace, Namespace, IpAddr] = [one, two, two.address]
  if (backend !== undefined) {
    // A network of its own for each side: nobody else's peers in its tables.
    // Nothing loads it by itself.
    if (name === 'fou') execFileSync('modprobe', ['fou'])
    await lab.configure({ Network: NETWORK, Backend: backend }, `/bench/${name}`)
    for (const host of hosts) await start(host)
    for (const host of hosts) await host.subnetEnv({ timeout: 120_000 })
    from = await one.addContainer('c')
    const target = await two.addContainer('c')
    to = target
    address = target.address
  }
  await to.start(['iperf3', '-s'], { log: `${two.folder}/iperf.log` })
  for (let tries = 0; (await from.ping(address, { count: 1 })).received === 0; tries += 1) {
    if (tries > 30) throw new Error(`${name}: the ends do not reach each other`)
    await delay(200)
  }
  const daemons = () => hosts.flatMap(({ daemon }) => (daemon === undefined ? [] : [daemon]))
  const restart = async () => {
    await one.daemon?.stop()
    await start(one)
  }
  return { name, from, to, address, hosts, daemons, restart }
}

function hostName(side: string, number: number): string {
  return `${side.replace('-', '')}${number}`
}

import { join } from 'node:path'
import process, { execPath } from 'node:process'
import { fileURLToPath } from 'node:url'
import type { Host } from '../../lab/host.ts'
import { defaultPrefix, Lab } from '../../lab/lab.ts'
import { until } from '../until.ts'

const NETWORK = { Network: '10.0.0.0/8', SubnetLen: 24, SubnetMin: '10.200.0.0' }
/** Of which path the leases speak, in the order in which a change writes them. */
type Stage = 'old' | 'accepts both' | 'sends both' | 'sends the new one' | 'new'

/** A host and many peers that only seem to be there: their leases change with the backend, and their probes are answered. */
export class Crowd {
  readonly lab: Lab
  readonly host: Host
  readonly #peers: number
  readonly #expiry: string

  private constructor(lab: Lab, peers: number, expiry: string) {
    this.lab = lab
    this.host = lab.host('h1')
    this.#peers = peers
    this.#expiry = expiry
  }

  static async create(peers: number): Promise<Crowd> {
    const lab = await Lab.create({
      segments: [{ name: 'lan', subnet: '192.168.64.0/24', hosts: ['h1', 'h2'] }],
      netConf: { ...NETWORK, Backend: { Type: 'vxlan' } },
    })
    const crowd = new Crowd(lab, peers, await lab.etcd.grantLease(86_400))
    await crowd.write('old')
    await crowd.#answer(lab.host('h2'))
    return crowd
  }

  async configure(type: 'vxlan' | 'host-gw'): Promise<void> {
    await this.lab.configure({ ...NETWORK, Backend: { Type: type } })
  }

  /** Of all peers, from vxlan to host-gw. */
  async write(stage: Stage): Promise<void> {
    const leases = Array.from({ length: this.#peers }, (_unused, index) => leaseOf(index, stage))
    await this.lab.etcd.putAll(leases, { lease: this.#expiry })
  }

  /** What the daemon's lease says, and at which revision it was written. */
  // biome-ignore lint/suspicious/noExplicitAny: a document of the daemon
  async own(): Promise<any> {
    const leases = await this.lab.etcd.list(`${defaultPrefix}/subnets/10.2`)
    const found = leases.find(({ value }) => value.includes(`"${this.host.address}"`))
    return { ...JSON.parse(found?.value ?? '{}'), revision: found?.modRevision }
  }

  // All addresses of the peers, and of their containers, are the other host's own.
  async #answer(other: Host): Promise<void> {
    const peers = Array.from({ length: this.#peers }, (_unused, index) => addressesOf(index))
    const { host } = this
    await other.ip('route', 'add', 'local', '172.16.0.0/16', 'dev', 'lo')
    await other.ip('route', 'add', '10.200.0.0/13', 'via', host.address)
    await other.ipBatch(peers.map(({ inner }) => `route add local ${inner} dev lo`))
    await host.ip('route', 'add', '172.16.0.0/16', 'dev', 'eth0')
    const [link] = await other.ipJson('link', 'show', 'eth0')
    // Namespaces share one ARP table of 1,024 entries; permanent ones do not count.
    await host.ipBatch(
      peers.map(({ outer }) => `neigh replace ${outer} lladdr ${link['address']} dev eth0 nud permanent`),
    )
    const script = fileURLToPath(new URL('crowd-answers.ts', import.meta.url))
    const program = await other.start([execPath, '--import', 'tsx', script, ...peers.map(({ inner }) => inner)], {
      log: join(this.lab.folder, 'crowd.log'),
      cwd: process.cwd(),
    })
    await until(30_000, 'the crowd answers', async () => {
      if (!(await program.logText()).includes('ready')) throw new Error('not yet')
    })
  }
}

/** Of peer number `index`: on the link, and of its overlay. */
function addressesOf(index: number): { readonly outer: string; readonly inner: string } {
  const [high, low] = [1 + (index >> 8), index & 255]
  return { outer: `172.16.${high}.${low}`, inner: `10.${high}.${low}.0` }
}

function leaseOf(index: number, stage: Stage): readonly [key: string, value: string] {
  const { outer, inner } = addressesOf(index)
  const mac = [2, 0, 0, 1, index >> 8, index & 255].map((byte) => byte.toString(16).padStart(2, '0')).join(':')
  const vxlan = { BackendType: 'vxlan', BackendData: { VNI: 1, VtepMAC: mac } }
  const hostGw = { BackendType: 'host-gw' }
  const ways: Readonly<Record<Stage, object>> = {
    old: vxlan,
    'accepts both': { ...hostGw, Accepts: [hostGw, vxlan], Sends: [vxlan] },
    'sends both': { ...hostGw, Accepts: [hostGw, vxlan], Sends: [vxlan, hostGw] },
    'sends the new one': { ...hostGw, Accepts: [hostGw, vxlan], Sends: [hostGw] },
    new: hostGw,
  }
  const { Accepts, Sends, ...path } = ways[stage] as Record<string, unknown>
  const value = {
    PublicIP: outer,
    PublicIPv6: null,
    ...path,
    NodeID: index.toString(16).padStart(32, '0'),
    ...(Accepts === undefined ? {} : { Accepts, Sends }),
  }
  return [`${defaultPrefix}/subnets/${inner}-24`, JSON.stringify(value)]
}

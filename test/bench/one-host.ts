import { rm } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import type { Host } from '../../lab/host.ts'
import { defaultPrefix, Lab } from '../../lab/lab.ts'
import type { Program } from '../../lab/program.ts'
import type { Side } from './measurement.ts'

/** Number of a lease beyond all that a measurement puts. */
const EXCLUDING = 40_000

/** As in the configuration; a flavour of vxlan, which programs peers that nobody has ever seen. */
export interface BackendConfig {
  readonly Type: 'vxlan'
  readonly DirectRouting?: true
}

/** A lab with one host and a number of leases whose nodes do not exist: vxlan programs them all the same. */
export class OneHost {
  readonly lab: Lab
  readonly host: Host
  readonly #expiry: string

  private constructor(lab: Lab, expiry: string) {
    this.lab = lab
    this.#expiry = expiry
    this.host = lab.host('h1')
  }

  static async create(leases: number, backend: BackendConfig = { Type: 'vxlan' }): Promise<OneHost> {
    const lab = await Lab.create({
      segments: [{ name: 'lan', subnet: '192.168.64.0/24', hosts: ['h1'] }],
      netConf: { Network: '10.0.0.0/8', SubnetLen: 24, SubnetMin: '10.200.0.0', Backend: backend },
    })
    // Keys without an expiry are reservations. One etcd lease does for all: neither program asks whose it is.
    const lease = await lab.etcd.grantLease(86_400)
    await lab.etcd.putAll(
      Array.from({ length: leases }, (_unused, index) => foreignLease(index)),
      { lease },
    )
    return new OneHost(lab, lease)
  }

  async put(index: number): Promise<void> {
    await this.lab.etcd.put(...foreignLease(index), { lease: this.#expiry })
  }

  /** A lease of a subnet of its own that has the public address of another one. */
  async putExcluding(index: number): Promise<void> {
    const [, value] = foreignLease(index)
    const [key, own] = foreignLease(EXCLUDING)
    const text = JSON.stringify({ ...JSON.parse(own), PublicIP: JSON.parse(value).PublicIP })
    await this.lab.etcd.put(key, text, { lease: this.#expiry })
  }

  async start(side: Side): Promise<Program> {
    return await this.host.startDaemon(side.daemon)
  }

  /** Ends the daemon and makes the host one that never had any. */
  async reset(): Promise<void> {
    const { host, lab } = this
    await resetHost(host)
    for (const { key, value } of await lab.etcd.list(`${defaultPrefix}/subnets/10.2`)) {
      if (value.includes(`"${host.address}"`)) await lab.etcd.del(key)
    }
    // What the last daemon left to do to kernel and disk must not be the next one's.
    await delay(500)
  }
}

export async function resetHost(host: Host): Promise<void> {
  await host.daemon?.stop()
  await host.exec(['ip', 'link', 'del', 'flannel.1'], { anyCode: true })
  for (const path of [host.paths.subnetFile, host.paths.stateDir]) await rm(path, { force: true, recursive: true })
}

/** The subnet of lease number `index`, in 10.1.0.0 and up, below those that real hosts get. */
export function foreignSubnet(index: number): { subnet: string; publicIp: string } {
  const [high, low] = [1 + (index >> 8), index & 255]
  return { subnet: `10.${high}.${low}.0/24`, publicIp: `172.16.${high}.${low}` }
}

function foreignLease(index: number): readonly [key: string, value: string] {
  const { subnet, publicIp } = foreignSubnet(index)
  const mac = [2, 0, 0, 1, index >> 8, index & 255].map((byte) => byte.toString(16).padStart(2, '0')).join(':')
  const value = { PublicIP: publicIp, PublicIPv6: null, BackendType: 'vxlan', BackendData: { VNI: 1, VtepMAC: mac } }
  return [`${defaultPrefix}/subnets/${subnet.replace('/', '-')}`, JSON.stringify(value)]
}

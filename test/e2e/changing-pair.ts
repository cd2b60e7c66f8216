import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { ChangingHosts, told } from './changing-hosts.ts'
import { bringUp, flanneld, knowsPeers, oneSegment } from './world.ts'

const network = { Network: '10.5.0.0/16' }
/** Documents of the network configuration, as they stand in etcd. */
export const documentOf = (backend: object, more: object = {}) =>
  JSON.stringify({ ...network, ...more, Backend: backend })
export const vxlan = (more: object = {}) => documentOf({ Type: 'vxlan', ...more })
export const HOST_GW = documentOf({ Type: 'host-gw' })

/** Two hosts, with a strict `rp_filter` as on Red Hat's, whose containers ping each other while the configuration is edited. They begin with vxlan. */
export class ChangingPair {
  readonly lab: Lab
  readonly hosts: readonly [Host, Host]
  readonly changing: ChangingHosts

  private constructor(lab: Lab, changing: ChangingHosts) {
    this.lab = lab
    this.hosts = lab.hosts as unknown as [Host, Host]
    this.changing = changing
  }

  static async start(): Promise<ChangingPair> {
    const lab = await Lab.create({ segments: oneSegment(2), rpFilter: 1, netConf: JSON.parse(vxlan()) })
    try {
      await bringUp(lab.hosts, { args: pairArgs })
      for (const host of lab.hosts) await knowsPeers(host, 1)
      return new ChangingPair(lab, await ChangingHosts.start(lab.hosts))
    } catch (cause) {
      await lab.close()
      throw cause
    }
  }

  async close(): Promise<void> {
    await this.changing.stop()
    await this.lab.close()
  }

  /** One that comes back too often is held, if nobody says that it is meant. */
  async edit(text: string): Promise<void> {
    await this.lab.etcd.put('/coreos.com/network/config', text)
    for (const host of this.hosts) await flanneld(host, ['switch'])
  }

  /** Both send by it, nothing else is left, nothing is told and nothing was lost. */
  async goesThrough(device: string, tunnel: string | undefined): Promise<void> {
    await this.changing.settled({ device, tunnel }, async (host) => assert.deepEqual(await told(host), []))
    await this.changing.nothingLost()
  }
}

/** Who is waited for is told at once. */
export const pairArgs: readonly string[] = ['--ingress-guard=on', '--drain=0']

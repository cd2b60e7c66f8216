import type { Kernel } from '../../kernel/kernel.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../../lib/log.ts'
import { heldLease } from '../leases/lease-attrs.ts'
import type { Agent } from '../node/agent.ts'
import { cniNetwork } from '../options/node-options.ts'
import type { Options } from '../options/options.ts'
import type { StateFiles } from '../state/state-files.ts'
import type { ConditionSet } from '../status/status.ts'
import { CniWatch } from './cni-watch.ts'
import { CniRecord, readRecord } from './record.ts'

interface OpenCniNeeds {
  readonly kernel: Pick<Kernel, 'host' | 'tables'>
  readonly agent: Pick<Agent, 'view' | 'networks'>
  readonly files: StateFiles
  readonly conditions: ConditionSet
  readonly clock: Clock
  readonly log: Logger
}

/** Undefined: nothing of CNI is asked for, and none is left of an earlier start. */
export async function openCni(needs: OpenCniNeeds, options: Options): Promise<CniWatch | undefined> {
  const { kernel, agent, files, log } = needs
  const { cniPluginsFrom: pluginsFrom, cniBinDir: binDir } = options
  const network = cniNetwork(options)
  const recorded = await readRecord({ files, log })
  const former = [recorded.network, ...recorded.former]
    .filter((each) => each !== undefined)
    .filter(({ confFile }) => confFile !== network?.confFile)
  if (network === undefined && pluginsFrom === undefined && former.length === 0) return undefined
  const addresses = kernel.tables.find(({ kind }) => kind === 'address')
  if (addresses === undefined) throw new TypeError('a kernel without a table of addresses')
  const own = () => {
    const lease = heldLease(agent.view.lease)?.lease
    if (lease === undefined) return undefined
    const subnets = new Map([...lease.families].map(([family, { subnet }]) => [family, subnet]))
    const conflist = agent.view.plan?.own.find((object) => object.kind === 'file' && object.path === network?.confFile)
    return { subnets, networks: agent.networks(), conflist: conflist?.kind === 'file' ? conflist.content : undefined }
  }
  const record = new CniRecord(files, recorded)
  const judged = { network, binDir, pluginsFrom, picksFirst: options.kubeSubnetMgr }
  return new CniWatch({ ...needs, host: kernel.host, addresses, own, record, former }, judged)
}

import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Kernel } from '../../kernel/kernel.ts'
import { keyOf } from '../../kernel/objects.ts'
import type { Logger } from '../../lib/log.ts'
import { cniNetwork } from '../options/node-options.ts'
import type { StateFiles } from '../state/state-files.ts'
import { bridgeOf, type CniNetwork, isOwnForm, parseConfig } from './conflist.ts'
import { removeWayBack } from './hand-back.ts'
import { removeInstalled } from './plugins.ts'
import { CNI_STATE, ReservationReader, readBridge, readConfigs, readSmall, storesIn } from './read.ts'
import { forgetRecord, keepPlugins, readRecord } from './record.ts'

/** Where runtimes look for configurations unless told otherwise. */
const USUAL_DIRECTORY = '/etc/cni/net.d'

interface RemovalNeeds {
  readonly kernel: Pick<Kernel, 'host' | 'tables'>
  readonly files: Pick<StateFiles, 'path' | 'read' | 'remove' | 'keep'>
  readonly log: Logger
  /** `CNI_STATE` where nothing is said. */
  readonly cniState?: string
  /** `USUAL_DIRECTORY` where nothing is said. */
  readonly usualDirectory?: string
}

/**
 * Removes what this instance has put beside container runtimes: its conflist, a bridge that no container hangs on, host-local's empty
 * store, and plugins where no other configuration may need them. What containers still use stays.
 *
 * @returns what was done, as commands
 */
export async function removeCni(
  needs: RemovalNeeds,
  options: Parameters<typeof cniNetwork>[0],
): Promise<readonly string[]> {
  const { network, former, plugins } = await readRecord(needs)
  const networks = [network, ...former, cniNetwork(options)].filter((each) => each !== undefined)
  const done: string[] = []
  for (const each of networks) done.push(...(await removeNetwork(needs, each)))
  // Also where ours was elsewhere: the folder of plugins is one for all.
  const directories = [needs.usualDirectory ?? USUAL_DIRECTORY, ...networks.map(({ confFile }) => dirname(confFile))]
  const others = await Promise.all(directories.map(readConfigs))
  if (others.every(({ found, unreadable }) => found.length === 0 && unreadable.length === 0)) {
    for (const plugin of plugins) if (await removeInstalled(plugin)) done.push(`rm -f ${plugin.path}`)
    await forgetRecord(needs.files)
  } else {
    // They stay for another configuration, and are known to a later clean-up without it.
    await keepPlugins(needs.files, plugins)
  }
  return done
}

async function removeNetwork(needs: RemovalNeeds, { confFile, name }: CniNetwork): Promise<readonly string[]> {
  const { kernel, log, cniState = CNI_STATE } = needs
  const text = await readSmall(confFile)
  if (text === undefined || !isOwnForm(parseConfig(text), name)) return []
  await rm(confFile, { force: true })
  const { found, unreadable } = await new ReservationReader(cniState).read()
  const [fault] = unreadable
  if (fault !== undefined) {
    // Nobody knows whether containers use them.
    log.warn('host-local store and bridge stay', { network: name, why: fault.message })
    return [`rm -f ${confFile}`]
  }
  const done = [`rm -f ${confFile}`, ...(await removeWayBack(name, found, cniState))]
  if (found.some((one) => one.network === name)) return done
  const store = join(storesIn(cniState), name)
  await rm(store, { recursive: true, force: true })
  done.push(`rm -rf ${store}`)
  const bridge = await readBridge(kernel.host, bridgeOf(name))
  if (bridge?.ports === 0 && (await deleteDevice(kernel, bridge.name))) done.push(`ip link delete ${bridge.name}`)
  return done
}

async function deleteDevice({ tables }: Pick<Kernel, 'tables'>, name: string): Promise<boolean> {
  const links = tables.find(({ kind }) => kind === 'link')
  const object = (await links?.dump([]))?.find((each) => keyOf(each) === `link ${name}`)
  if (links === undefined || object === undefined) return false
  const [result] = await links.apply([{ verb: 'remove', object }])
  return result?.ok === true
}

import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { gunzipSync } from 'node:zlib'
import type { PlanFacts } from '../facts.ts'

type Module = PlanFacts['modules'][number]

/** How the kernel's configuration calls them. */
const SYMBOLS: Readonly<Record<string, string>> = {
  vxlan: 'CONFIG_VXLAN',
  ipip: 'CONFIG_NET_IPIP',
  fou: 'CONFIG_NET_FOU',
  tun: 'CONFIG_TUN',
}

/** `inUse`: whose objects are there, whatever the files say. */
export async function readModules(names: Iterable<string>, inUse: ReadonlySet<string>): Promise<readonly Module[]> {
  const release = (await text('/proc/sys/kernel/osrelease')).trim()
  const folder = `/lib/modules/${release}`
  const [builtin, loadable, config] = await Promise.all([
    text(`${folder}/modules.builtin`),
    text(`${folder}/modules.dep`),
    readConfig(release),
  ])
  const stateOf = (name: string): Module['state'] => {
    if (inUse.has(name) || existsSync(`/sys/module/${name}`) || listed(builtin, name)) return 'there'
    const choice = new RegExp(`^(?:# )?${SYMBOLS[name]}(?:=(\\w)| is not set)$`, 'm').exec(config)
    if (choice?.[1] === 'y') return 'there'
    if (listed(loadable, name)) return 'loadable'
    return choice !== null || loadable !== '' ? 'missing' : 'unknown'
  }
  return [...names].map((name) => ({ name, state: stateOf(name) }))
}

function listed(modules: string, name: string): boolean {
  return new RegExp(`/${name}\\.ko\\b`).test(modules)
}

async function readConfig(release: string): Promise<string> {
  const packed = await readFile('/proc/config.gz').catch(() => undefined)
  return packed === undefined ? await text(`/boot/config-${release}`) : gunzipSync(packed).toString()
}

async function text(path: string): Promise<string> {
  return await readFile(path, 'utf8').catch(() => '')
}

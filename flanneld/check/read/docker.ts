import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { parseSubnetFile } from '../../state/subnet-file.ts'
import type { DockerFacts, DockerProcess, DockerUnit } from '../facts.ts'
import { expandCommand, isBoundTo, parseEnvironmentFile, parseUnit } from '../systemd-unit.ts'

/** The first one that has a file of a name is the one that counts. Source: systemd.unit(5). */
const UNIT_FOLDERS = [
  '/etc/systemd/system',
  '/run/systemd/system',
  '/usr/local/lib/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
]
const UNIT = 'docker.service'
const SOCKET = 'docker.socket'
const CNI_FOLDER = '/etc/cni/net.d'
const DAEMON_JSON = '/etc/docker/daemon.json'

/** `root`: the folder that stands for `/`. */
export async function readDocker(
  subnetPath: string,
  { root = '/', addresses = readAddresses() }: { root?: string; addresses?: DockerFacts['addresses'] } = {},
): Promise<DockerFacts> {
  const at = (path: string) => join(root, path)
  const processes = readProcesses(at('/proc'))
  const unit = await readUnit(at)
  const path = fileNamed(unit?.words ?? processes.find(({ here }) => here)?.words ?? [])
  const text = await readText(at(path))
  const known = parseSubnetFile((await readText(subnetPath)) ?? '')
  return {
    ...(text !== undefined && { file: { path, text } }),
    ...(unit && { unit }),
    processes,
    ...(known.ok && { subnetFile: known.file }),
    subnetPath,
    hasCni: (await readdir(at(CNI_FOLDER)).catch(() => [])).some((name) => /\.conf(list)?$/.test(name)),
    addresses,
  }
}

/** A bridge without containers is not among them, nor is it in anybody's way. */
function readAddresses(): ReadonlyMap<string, readonly string[]> {
  return new Map(
    Object.entries(networkInterfaces()).map(([name, addresses]) => [
      name,
      (addresses ?? []).flatMap(({ cidr }) => cidr ?? []),
    ]),
  )
}

function fileNamed(words: readonly string[]): string {
  const index = words.findIndex((word) => /^--config-file(=|$)/.test(word))
  const [, value] = words[index]?.split('=') ?? []
  return value ?? (index < 0 ? undefined : words[index + 1]) ?? DAEMON_JSON
}

/** The second one is an alias. */
const OURS = ['flanneld.service', 'flannel.service']

async function readUnit(at: (path: string) => string): Promise<DockerUnit | undefined> {
  let unit: string | undefined
  const dropIns = new Map<string, string>()
  const ties: string[] = []
  for (const folder of UNIT_FOLDERS) {
    if (unit === undefined) {
      unit = await readText(at(`${folder}/${UNIT}`))
      if (isBoundTo(unit ?? '', OURS)) ties.push(`${folder}/${UNIT}`)
    }
    for (const name of await readdir(at(`${folder}/${UNIT}.requires`)).catch(() => []))
      if (OURS.includes(name)) ties.push(`${folder}/${UNIT}.requires/${name}`)
    const inside = `${folder}/${UNIT}.d`
    for (const name of await readdir(at(inside)).catch(() => []))
      if (name.endsWith('.conf') && !dropIns.has(name)) {
        const text = (await readText(at(`${inside}/${name}`))) ?? ''
        dropIns.set(name, text)
        if (isBoundTo(text, OURS)) ties.push(`${inside}/${name}`)
      }
  }
  if (unit === undefined) return undefined
  const inOrder = [...dropIns].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => text)
  const { execStart, environment, files } = parseUnit([unit, ...inOrder])
  const variables = new Map(environment)
  const missing: string[] = []
  for (const { path, required } of files) {
    const text = await readText(at(path))
    if (text === undefined && required) missing.push(path)
    for (const [name, value] of parseEnvironmentFile(text ?? '')) variables.set(name, value)
  }
  return {
    words: expandCommand(execStart, variables).slice(1),
    missing,
    ties,
    isEnabled: await isEnabled(at),
  }
}

/** A link that another unit pulls Docker in by, or its socket, which starts it with the first client. Source: systemd.unit(5). */
async function isEnabled(at: (path: string) => string): Promise<boolean> {
  for (const folder of UNIT_FOLDERS)
    for (const name of await readdir(at(folder)).catch(() => []))
      if (/\.(wants|requires|upholds)$/.test(name)) {
        const links: readonly string[] = await readdir(at(`${folder}/${name}`)).catch(() => [])
        if (links.includes(UNIT) || links.includes(SOCKET)) return true
      }
  return false
}

/** At once, which takes a tenth of the time: it is done again and again, on hosts with a thousand processes. */
function readProcesses(proc: string): readonly DockerProcess[] {
  const text = (pid: string, file: string) => {
    try {
      return readFileSync(join(proc, pid, file), 'utf8')
    } catch {
      return ''
    }
  }
  const network = (pid: string) => {
    try {
      return readlinkSync(join(proc, pid, 'ns/net'))
    } catch {
      return ''
    }
  }
  const own = network('self')
  const pids = readdirSync(proc).filter((name) => /^\d+$/.test(name) && text(name, 'comm') === 'dockerd\n')
  return pids.flatMap((pid) => {
    const uid = Number(/^Uid:\s+(\d+)/m.exec(text(pid, 'status'))?.[1] ?? 0)
    const here = network(pid) === own
    // Root's in another namespace is another host's, of a lab say.
    if (!here && uid === 0) return []
    return [{ pid: Number(pid), words: text(pid, 'cmdline').split('\0').slice(1, -1), uid, here }]
  })
}

async function readText(path: string): Promise<string | undefined> {
  return await readFile(path, 'utf8').catch(() => undefined)
}

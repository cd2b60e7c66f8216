import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { removeCgroups } from './cgroups.ts'
import { run } from './command.ts'
import { namespacePrefix } from './layout.ts'
import type { ProcessIdentity } from './proc.ts'
import { isAlive, killProcessesOfLab } from './proc.ts'

/**
 * What a crashed lab leaves behind, written before the first thing is made. It names only an id and the owner: paths
 * and namespaces follow from the id, so that a record from a strange hand cannot point anywhere. /run is root's alone
 * and empties at a reboot, exactly when the namespaces go.
 */
export interface LabRecord {
  readonly id: string
  readonly owner: ProcessIdentity
}

const recordFolder = '/run/flannel-lab'
const netnsFolder = '/run/netns'

/** The folder of a lab's files: logs, subnet.env files, etcd's data. */
export function labFolder(id: string): string {
  return join(tmpdir(), `flannel-lab-${id}`)
}

export async function writeRecord(record: LabRecord): Promise<void> {
  await mkdir(recordFolder, { recursive: true, mode: 0o700 })
  const path = join(recordFolder, `${record.id}.json`)
  // A sweeper must never see half a record and take its owner for dead.
  await writeFile(`${path}.new`, JSON.stringify(record))
  await rename(`${path}.new`, path)
}

export async function readRecords(): Promise<readonly LabRecord[]> {
  const names = await readdir(recordFolder).catch(() => [])
  const ids = names.map((name) => /^([0-9a-f]{6})\.json$/.exec(name)?.[1]).filter((id) => id !== undefined)
  const records = await Promise.all(ids.map(readRecord))
  return records.filter((record) => record !== undefined)
}

async function readRecord(id: string): Promise<LabRecord | undefined> {
  try {
    const { owner } = JSON.parse(await readFile(join(recordFolder, `${id}.json`), 'utf8')) as LabRecord
    return { id, owner: { pid: Number(owner.pid), started: String(owner.started) } }
  } catch {
    return undefined // another sweeper was faster
  }
}

/** Removes everything a lab made: processes first, since a namespace lives as long as a process in it. Idempotent. */
export async function removeLab(id: string): Promise<void> {
  await killProcessesOfLab(id)
  const names = await readdir(netnsFolder).catch(() => [])
  const own = names.filter((name) => name.startsWith(namespacePrefix(id)))
  if (own.length > 0) {
    // -force: two sweepers at once may each delete half of them.
    await run(['ip', '-force', '-batch', '-'], {
      input: own.map((name) => `netns del ${name}\n`).join(''),
      timeout: 60_000,
      anyCode: true,
    })
  }
  // They are outside of every namespace.
  await removeCgroups(namespacePrefix(id))
  await rm(labFolder(id), { recursive: true, force: true })
  await rm(join(recordFolder, `${id}.json`), { force: true })
}

/** Removes the labs whose owner is dead; says which those were and which still live. */
export async function sweep(): Promise<{ removed: readonly LabRecord[]; alive: readonly LabRecord[] }> {
  const removed: LabRecord[] = []
  const alive: LabRecord[] = []
  for (const record of await readRecords()) {
    if (await isAlive(record.owner)) {
      alive.push(record)
    } else {
      await removeLab(record.id)
      removed.push(record)
    }
  }
  return { removed, alive }
}

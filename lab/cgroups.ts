import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from './command.ts'

const root = '/sys/fs/cgroup'

/** Makes the group under every controller (cgroup v1), with all cores and memory nodes of the machine. */
export async function makeCgroup(path: string): Promise<void> {
  for (const controller of await controllers()) {
    const folder = join(root, controller)
    await mkdir(join(folder, path), { recursive: true })
    if (controller !== 'cpuset') continue
    // A cpuset starts without any, and then takes no process.
    const parts = path.split('/').filter((part) => part !== '')
    for (const [index] of parts.entries()) {
      const group = join(folder, ...parts.slice(0, index + 1))
      for (const file of ['cpuset.cpus', 'cpuset.mems'])
        await writeFile(join(group, file), await readFile(join(folder, file)))
    }
  }
}

/** Removes all groups at the root whose names start so, with those below; processes in them must have ended. */
export async function removeCgroups(prefix: string): Promise<void> {
  await remove((name) => name.startsWith(prefix))
}

/** The same of one group. */
export async function removeCgroup(path: string): Promise<void> {
  await remove((name) => name === path)
}

async function remove(isMeant: (name: string) => boolean): Promise<void> {
  for (const controller of await controllers()) {
    const names = await readdir(join(root, controller)).catch(() => [])
    for (const name of names.filter(isMeant))
      await run(['find', join(root, controller, name), '-depth', '-type', 'd', '-exec', 'rmdir', '{}', ';'], {
        anyCode: true,
      })
  }
}

/** Processes of this machine in the groups below `path` whose own path contains `part`. */
export async function processesBelow(path: string, part: string): Promise<readonly number[]> {
  const top = join(root, 'memory', path)
  const files = (await readdir(top, { recursive: true }).catch(() => [])).filter(
    (file) => file.endsWith('/cgroup.procs') && file.includes(part),
  )
  const texts = await Promise.all(files.map((file) => readFile(join(top, file), 'utf8').catch(() => '')))
  return texts.flatMap((text) => text.split('\n').filter((pid) => pid !== '')).map(Number)
}

async function controllers(): Promise<readonly string[]> {
  const entries = await readdir(root, { withFileTypes: true }).catch(() => [])
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name)
}

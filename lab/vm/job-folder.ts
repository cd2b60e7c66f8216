import { mkdir, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pid } from 'node:process'
import { identify, isAlive } from '../proc.ts'

const ownName = /^flanneld-vm-(\d+)-(\d+)-\d+$/
let made = 0

/**
 * A new folder for one run. The name tells whose it is, so that the next run removes what a killed one has left. Only
 * the owner may enter: it holds the caller's environment.
 */
export async function makeJobFolder(): Promise<string> {
  const owner = await identify(pid)
  if (owner === undefined) throw new Error('/proc is not mounted')
  await removeOrphans()
  made += 1
  const folder = join(tmpdir(), `flanneld-vm-${owner.pid}-${owner.started}-${made}`)
  await mkdir(folder, { mode: 0o700 })
  return folder
}

async function removeOrphans(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const [, owner, started] = ownName.exec(name) ?? []
    if (owner === undefined || started === undefined) continue
    // Another user's stays: it is not ours to remove.
    if (!(await isAlive({ pid: Number(owner), started }))) {
      await rm(join(tmpdir(), name), { recursive: true, force: true }).catch(() => undefined)
    }
  }
}

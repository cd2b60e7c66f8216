import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { lockFileOf } from '../../state/instance-lock.ts'
import type { DaemonFacts } from '../facts.ts'

/** flannel's default, and ours. */
const DEFAULT_FILE = '/run/flannel/subnet.env'
const NAME = 'flanneld'

/** Daemons that run and write the file, whatever they call it: those of containers are seen by the folder that they were given. */
export function readDaemons(subnetPath: string, proc = '/proc'): DaemonFacts {
  const wanted = identityOf(subnetPath)
  const flannels = readdirSync(proc)
    .filter((name) => /^\d+$/.test(name) && text(join(proc, name, 'comm')) === `${NAME}\n`)
    .flatMap((pid) => {
      const program = link(join(proc, pid, 'exe'))
      // Ours is run by node, and is known by its lock.
      if (program === '' || /^node/.test(basename(program))) return []
      const file = identityOf(fileOf(join(proc, pid)), join(proc, pid, 'root'))
      return wanted !== undefined && file === wanted ? [{ pid: Number(pid), program }] : []
    })
  return { subnetPath, flannels, ours: lockHolder(lockFileOf(subnetPath), proc) }
}

/** By flag, else by variable, as Go's `flag` and flannel read them. */
function fileOf(process: string): string {
  const words = text(join(process, 'cmdline')).split('\0').slice(1)
  const at = words.findLastIndex((word) => /^--?subnet-file(=|$)/.test(word))
  const word = words[at]
  if (word !== undefined) return word.includes('=') ? word.slice(word.indexOf('=') + 1) : (words[at + 1] ?? '')
  const variable = text(join(process, 'environ'))
    .split('\0')
    .find((entry) => entry.startsWith('FLANNELD_SUBNET_FILE='))
  return variable?.slice(variable.indexOf('=') + 1) || DEFAULT_FILE
}

/** The same folder and name, wherever it is mounted. Undefined: there is no such folder. */
function identityOf(path: string, root = ''): string | undefined {
  try {
    const { dev, ino } = statSync(join(root || '/', dirname(path)))
    return `${dev} ${ino} ${basename(path)}`
  } catch {
    return undefined
  }
}

/** Without touching the lock: a daemon that starts just now must not find it taken. Source: proc_locks(5). */
function lockHolder(path: string, proc: string): number | undefined {
  try {
    const { ino } = statSync(path)
    const holder = text(join(proc, 'locks'))
      .split('\n')
      .map((line) => /\bFLOCK\s+\w+\s+WRITE\s+(\d+)\s+[0-9a-f]+:[0-9a-f]+:(\d+)\b/.exec(line))
      .find((found) => found?.[2] === String(ino))?.[1]
    return holder === undefined ? undefined : Number(holder)
  } catch {
    return undefined
  }
}

function text(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}

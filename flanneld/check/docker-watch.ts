import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../../lib/clock.ts'
import type { Source } from '../../lib/latest.ts'
import type { ConditionSet } from '../status/status.ts'
import { runningDisagreements } from './checks/docker.ts'
import { readDocker } from './read/docker.ts'

/** All processes are gone through, a few milliseconds for a hundred of them. Shorter than the reconciler's sweep, whose pass is then the occasion. */
const LOOK_MS = 25_000

interface DockerWatchNeeds {
  readonly conditions: ConditionSet
  readonly clock: Clock
  /** Has a new value after each pass of the reconciler: a new subnet.env, and rules that Docker writes at its start, bring one. */
  readonly passes: Source<unknown>
}

/** Names, as conditions, where the Docker that runs and subnet.env disagree. Docker and its bridge are left alone. Until the signal is aborted. */
export async function watchDocker(
  { conditions, clock, passes }: DockerWatchNeeds,
  subnetFile: string,
  signal: AbortSignal,
): Promise<void> {
  let last: { readonly at: number; readonly known: string; readonly pids: readonly number[] } | undefined
  for await (const _ of passes.watch(signal)) {
    const known = whatIsCheap(subnetFile, last?.pids ?? [])
    if (last !== undefined && known === last.known && clock.now() < last.at + LOOK_MS) continue
    const at = clock.now()
    const docker = await readDocker(subnetFile)
    conditions.replace('Docker', runningDisagreements(docker))
    const pids = docker.processes.map(({ pid }) => pid)
    last = { at, pids, known: whatIsCheap(subnetFile, pids) }
  }
}

/** Read at each pass: is subnet.env another one, has a Docker ended? */
function whatIsCheap(subnetFile: string, pids: readonly number[]): string {
  return [subnetFile, ...pids.map((pid) => join('/proc', String(pid), 'comm'))].map(textOf).join('\0')
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

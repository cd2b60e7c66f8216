import type { Clock } from '../../lib/clock.ts'
import { type ConfigError, messageOf, UsageError } from '../../lib/errors.ts'
import type { DaemonFacts, Facts } from '../check/facts.ts'
import { gravest, judge } from '../check/judge.ts'
import { LEVELS, type Line } from '../check/line.ts'
import { readDaemons } from '../check/read/daemons.ts'
import { readDocker } from '../check/read/docker.ts'
import { readOutlook } from '../check/read/outlook.ts'
import { readStore } from '../check/read/store.ts'
import { readVariables } from '../check/read/variables.ts'
import { etcdAccess } from '../leases/etcd-source.ts'
import type { FlagValue } from '../options/go-flags.ts'
import { requireNetAdmin } from '../options/node-options.ts'
import type { Options } from '../options/options.ts'
import { OTHER_DAEMON, OTHER_INSTANCE } from '../other-daemons/signs.ts'
import type { ProcessPort } from '../process-port.ts'
import { instanceOf } from '../state/instance.ts'
import { askStatus } from './status.ts'

interface CheckNeeds {
  readonly clock: Clock
  readonly port: ProcessPort
  readonly print: (text: string) => void
}

/** As written: what was given, and the command's own flags. */
interface CheckWords {
  readonly given: Iterable<string>
  readonly unavailable: ConfigError | undefined
  readonly flags: ReadonlyMap<string, FlagValue>
}

/**
 * `flanneld check`: whether a daemon with these options could do its work on this host; 0 all is well, 1 with warnings, 2 with
 * failures. Changes nothing.
 *
 * @throws UsageError
 */
export async function runCheck(needs: CheckNeeds, options: Options, { flags, ...words }: CheckWords): Promise<number> {
  const output = flags.get('o') ?? ''
  if (output !== '' && output !== 'json')
    throw new UsageError(`invalid value ${JSON.stringify(output)} for flag -o: must be json`)
  const lines = judge(await readFacts(needs, options, words))
  needs.print(output === 'json' ? checkDocument(lines) : checkText(lines))
  return gravest(lines)
}

async function readFacts(
  needs: CheckNeeds,
  options: Options,
  { given, unavailable }: Pick<CheckWords, 'given' | 'unavailable'>,
): Promise<Facts> {
  const { clock, port } = needs
  const [permission, variables, docker, daemons, store] = await Promise.all([
    requireNetAdmin().then(
      () => undefined,
      (cause: unknown) => messageOf(cause),
    ),
    readVariables(port.env, given),
    readDocker(options.subnetFile),
    daemonFacts(options, port.stop),
    // In Kubernetes the API server is asked by the plan alone.
    options.kubeSubnetMgr ? undefined : readStore(clock, etcdAccess(options, port.env), options.etcdPrefix, port.stop),
  ])
  const option = unavailable && { unavailable: { fault: unavailable.message } }
  const facts = { permission: { fault: permission }, ...option, variables, docker, daemons, ...(store && { store }) }
  // Without a configuration the daemon waits, and nothing can be said of what it would do.
  const isConfigured = store === undefined || (!('fault' in store.answer) && store.answer.config !== undefined)
  return isConfigured ? { ...facts, outlook: await readOutlook(needs, options) } : facts
}

/** From within a container other daemons are no processes: the one that runs tells what it has seen of them. */
async function daemonFacts(options: Options, signal: AbortSignal): Promise<DaemonFacts> {
  const { subnetFile } = options
  const facts = readDaemons(subnetFile)
  const status = await askStatus(instanceOf(options).statusSocket, signal).catch(() => undefined)
  if (status?.subnetFile !== subnetFile) return facts
  const seen = status.conditions.filter(({ code }) => code === OTHER_DAEMON || code === OTHER_INSTANCE)
  return { ...facts, ours: facts.ours ?? status.pid, seen }
}

/** What is wrong comes last, where the eye is. */
export function checkText(lines: readonly Line[]): string {
  const sorted = LEVELS.flatMap((level) => lines.filter((line) => line.level === level))
  const width = Math.max(...lines.map(({ check }) => check.length))
  return sorted
    .map(({ check, level, text, remedy }) => {
      const first = `${level.padEnd(4)}  ${check.padEnd(width)}  ${clean(text)}\n`
      return remedy === undefined ? first : `${first}${' '.repeat(width + 8)}-> ${clean(remedy)}\n`
    })
    .join('')
}

/** It only grows. */
function checkDocument(lines: readonly Line[]): string {
  const result = LEVELS[gravest(lines)]
  return `${JSON.stringify({ apiVersion: 'flannel.check/v1', result, checks: lines }, null, 2)}\n`
}

// Others have written some of it: none may drive the terminal.
function clean(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '?')
}

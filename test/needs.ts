import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/**
 * What a machine must offer for a test to run. The peers are real programs of others to test against, found only by the
 * variables of `peers`; `REQUIRE=etcd,peer:flanneld` makes it a failure when one is absent.
 */
export type Capability = 'root' | 'netns' | 'etcd' | `peer:${string}`

const peers: Readonly<Record<string, string>> = {
  'peer:flanneld': 'FLANNELD_PEER',
  'peer:flannel-cni': 'FLANNEL_CNI',
  'peer:kube-apiserver': 'KUBE_APISERVER',
  'peer:kube-proxy': 'KUBE_PROXY',
}

export const capabilities: readonly string[] = ['root', 'netns', 'etcd', ...Object.keys(peers)]

/** Why the tests of a mocha suite did not run; `scripts/test/report.ts` reads it when they turn up as pending. */
export interface NotRun {
  readonly lacking: Capability
  readonly reason: string
}
export const notRun = Symbol.for('flanneld.not-run')

/**
 * Skips all tests of a `describe` on a machine that lacks something, and says why at the end of the run:
 * `describe('a mixed cluster', function () { needs(this, 'netns', 'peer:flanneld') ... })`
 */
export function needs(suite: Mocha.Suite, ...wanted: readonly Capability[]): void {
  suite.beforeAll(function () {
    for (const lacking of wanted) {
      const reason = whyAbsent(lacking)
      if (reason === undefined) continue
      Object.assign(suite, { [notRun]: { lacking, reason } satisfies NotRun })
      this.skip()
    }
  })
}

/** The path of a peer program; throws unless the test said that it `needs` it. */
export function peerProgram(capability: `peer:${string}`): string {
  const absent = whyAbsent(capability)
  if (absent !== undefined) throw new Error(absent)
  return process.env[peers[capability] ?? ''] ?? ''
}

/** Undefined when the machine has it. */
export function whyAbsent(capability: Capability): string | undefined {
  if (capability === 'root') return process.geteuid?.() === 0 ? undefined : 'not root'
  if (capability === 'netns') return whyAbsent('root') ?? whyNoNamespaces()
  if (capability === 'etcd') return inPath('etcd') ? undefined : 'no etcd in PATH (Debian: etcd-server)'
  const variable = peers[capability]
  if (variable === undefined) return `nothing is known about ${capability}`
  const program = process.env[variable]
  if (program === undefined || program === '') return `${variable} is not set`
  return executable(program) ? undefined : `${variable}=${program} is not an executable file`
}

function whyNoNamespaces(): string | undefined {
  const { status, error } = spawnSync('unshare', ['--net', 'true'])
  return status === 0
    ? undefined
    : `network namespaces cannot be made here (${error?.message ?? `exit code ${status}`})`
}

function inPath(program: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => executable(join(folder, program)))
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

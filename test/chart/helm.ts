import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { loadAll } from 'js-yaml'
import { peerProgram } from '../needs.ts'

export const root = join(import.meta.dirname, '../..')
export const chart = join(root, 'packaging/chart')
export const namespace = 'kube-flannel'

/** An object of the Kubernetes API; the test is the judge of its shape. */
// biome-ignore lint/suspicious/noExplicitAny: as the sentence above says
export type Manifest = any

export interface Ran {
  readonly ok: boolean
  readonly stdout: string
  readonly stderr: string
}

/** Values go in by standard input as JSON, which is YAML: no shell and no `--set` syntax between test and chart. */
export function helm(args: readonly string[], values?: object, env: NodeJS.ProcessEnv = {}): Ran {
  const given = values === undefined ? [] : ['--values', '-']
  return run(peerProgram('peer:helm'), [...args, ...given], values && asYaml(values), env)
}

/** What YAML 1.1 takes for a line break or refuses is written as an escape. */
function asYaml(values: object): string {
  const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  return JSON.stringify(values).replace(/[\u007f-\u009f\u2028\u2029\ufeff]/g, escaped)
}

export function kubectl(args: readonly string[], input?: string, env: NodeJS.ProcessEnv = {}): Ran {
  return run(peerProgram('peer:kubectl'), args, input, env)
}

/** What the chart makes of these values, by kind; fails where there are two of a kind. */
export function render(values: object = {}, ...flags: readonly string[]): Readonly<Record<string, Manifest>> {
  const ran = helm(['template', 'flannel', chart, '--namespace', namespace, ...flags], values)
  assert.ok(ran.ok, ran.stderr)
  const objects = manifests(ran.stdout)
  const byKind = Object.fromEntries(objects.map((object) => [object.kind, object]))
  assert.equal(Object.keys(byKind).length, objects.length)
  return byKind
}

export function podSpec(values: object): Manifest {
  return render(values)['DaemonSet'].spec.template.spec
}

export function manifests(text: string): readonly Manifest[] {
  return loadAll(text).filter((object) => object !== null && object !== undefined)
}

/** The network configuration that these values give the daemon. */
export function netConf(values: object, ...flags: readonly string[]): Manifest {
  return JSON.parse(render(values, ...flags)['ConfigMap'].data['net-conf.json'])
}

/** Helm's error text for values that must not be rendered. */
export function refusal(values: object): string {
  const { ok, stderr } = helm(['template', 'flannel', chart, '--namespace', namespace], values)
  assert.ok(!ok, `rendered: ${JSON.stringify(values)}`)
  return stderr
}

function run(program: string, args: readonly string[], input: string | undefined, env: NodeJS.ProcessEnv): Ran {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    encoding: 'utf8',
    input: input ?? '',
    env: { PATH: process.env['PATH'], HOME: '/nonexistent', ...env },
    maxBuffer: 64 << 20,
  })
  if (error !== undefined) throw error
  return { ok: status === 0, stdout, stderr }
}

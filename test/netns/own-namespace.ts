import { execFileSync } from 'node:child_process'
import { createKernel, type Kernel, type KernelOptions } from '../../kernel/kernel.ts'
import type { KernelObject, ObjectKind } from '../../kernel/objects.ts'
import type { ObjectTable, Op, OpResult } from '../../kernel/table.ts'
import { enterNewNetworkNamespace } from '../../lab/enter-namespace.ts'
import { needs } from '../needs.ts'

/** A network namespace of the test's own, on the main thread, with `uplink` (192.168.64.11/24, fd64::11/64) and its far end. */
export interface OwnNamespace {
  readonly kernel: Kernel
  /** Runs a line such as `ip route add ...`. */
  run(line: string, input?: string): string
  /** What `ip -j ...` or `bridge -j ...` prints. */
  json(line: string): Record<string, unknown>[]
}

/** Call it inside `describe`; the namespace is there while its tests run, one for all of them. */
export function ownNamespace(suite: Mocha.Suite, options: KernelOptions = {}): OwnNamespace {
  let kernel: Kernel | undefined
  let namespace: { leave(): void } | undefined
  needs(suite, 'root', 'netns')
  suite.beforeAll(async () => {
    namespace = enterNewNetworkNamespace()
    for (const line of setup) run(line)
    kernel = await createKernel(options)
  })
  suite.afterAll(() => {
    kernel?.close()
    namespace?.leave()
  })
  return {
    get kernel() {
      if (kernel === undefined) throw new TypeError('the namespace is there while tests run')
      return kernel
    },
    run,
    json: (line) => JSON.parse(run(line)),
  }
}

/** The only one of a kind. */
export function tableOf<O extends KernelObject>(kernel: Kernel, kind: O['kind'] & ObjectKind): ObjectTable<O> {
  const table = kernel.tables.find((candidate) => candidate.kind === kind)
  if (table === undefined) throw new TypeError(`no table of kind ${kind}`)
  return table as unknown as ObjectTable<O>
}

/** `ok`, or the error's code, for each op. */
export async function outcomes<O extends KernelObject>(
  table: ObjectTable<O>,
  ...ops: readonly Op<O>[]
): Promise<string[]> {
  return (await table.apply(ops)).map((result: OpResult) => (result.ok ? 'ok' : result.error.code))
}

const setup = [
  'ip link set lo up',
  'ip link add uplink type veth peer name far',
  'ip addr add 192.168.64.11/24 dev uplink',
  'ip addr add fd64::11/64 dev uplink nodad',
  'ip link set uplink up',
  'ip link set far up',
]

function run(line: string, input = ''): string {
  const [program = '', ...args] = line.split(' ')
  return execFileSync(program, args, { encoding: 'utf8', stdio: 'pipe', input })
}

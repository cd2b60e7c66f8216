import { access, constants, open } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { UsageError } from '../lib/errors.ts'

/** Which flags a daemon knows: ours have more than flannel's. */
export type Dialect = 'ours' | 'flannel'

export interface DaemonOptions {
  /** Any program that takes flanneld's flags; the built `dist/flanneld` unless told. */
  readonly program?: string
  /** Put behind the lab's own flags, so they win. */
  readonly args?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Found out by the look of the program unless told: flannel's is an ELF file. */
  readonly dialect?: Dialect
  /** Another etcd, a TcpProxy before it for one. */
  readonly etcdEndpoints?: string
}

/** Where a daemon of a host writes, all of it below the host's folder. */
export interface DaemonPaths {
  readonly subnetFile: string
  readonly stateDir: string
  readonly statusSocket: string
  readonly log: string
}

export const builtDaemon = fileURLToPath(new URL('../dist/flanneld', import.meta.url))

/** The command line. Throws UsageError when the program is not there or not executable. */
export async function daemonCommand(
  options: DaemonOptions,
  paths: DaemonPaths,
  etcdUrl: string,
): Promise<readonly string[]> {
  const program = options.program ?? builtDaemon
  await access(program, constants.X_OK).catch(() => {
    const remedy = program === builtDaemon ? ': build it (npm run build) or name another (--daemon PATH)' : ''
    throw new UsageError(`no daemon program at ${program}${remedy}`)
  })
  const dialect = options.dialect ?? (await guessDialect(program))
  const own = dialect === 'ours' ? [`--state-dir=${paths.stateDir}`, `--status-socket=${paths.statusSocket}`] : []
  return [
    program,
    `--etcd-endpoints=${options.etcdEndpoints ?? etcdUrl}`,
    `--subnet-file=${paths.subnetFile}`,
    ...own,
    ...(options.args ?? []),
  ]
}

async function guessDialect(program: string): Promise<Dialect> {
  const file = await open(program)
  try {
    const { buffer } = await file.read(Buffer.alloc(4), 0, 4, 0)
    return buffer.toString('latin1') === '\x7fELF' ? 'flannel' : 'ours'
  } finally {
    await file.close()
  }
}

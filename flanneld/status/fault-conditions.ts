import { OpFailure } from '../../kernel/table.ts'
import { messageOf } from '../../lib/errors.ts'
import { isSystemError, readSystemError } from '../../lib/system-error.ts'
import type { Condition } from './status.ts'

const REMEDIES: Readonly<Record<string, string>> = {
  EINTR: 'another program changes the network all the time: `ip monitor` shows what, `ss -f netlink` who',
  ENOBUFS: 'the host is short of memory, or changes its network too fast: see `ip monitor`',
  ENOMEM: 'the host is short of memory',
  EMFILE: 'raise the limit of open files (LimitNOFILE= in the unit)',
  ENFILE: 'raise the sysctl fs.file-max',
  EAGAIN: 'raise the limit of processes (TasksMax= in the unit, pids.max of the container)',
}

/** What is so while a part of the program is begun again after a fault: the host's refusal, or a fault of the program itself. */
export function faultConditions(task: string, cause: unknown): readonly Condition[] {
  const refusal = refusalOf(cause)
  const text = `${task} failed and is tried again, everything else goes on: ${messageOf(cause)}`
  if (refusal !== undefined) {
    const remedy = remedyOfRefusal(refusal)
    return [{ code: `refused-by-host ${task}`, severity: 'warning', text: `${text} (${refusal})`, remedy }]
  }
  const remedy = 'this is a fault of the program: report it, with the lines of the log before and after it'
  return [{ code: `internal-fault ${task}`, severity: 'warning', text, remedy }]
}

/** What mends it that the kernel or a file system refuses something by this errno name. */
export function remedyOfRefusal(code: string): string {
  return REMEDIES[code] ?? 'see what the reason says; it is tried again, at least twice a minute'
}

/** Not the refusal of the kernel or a file system. */
export function isOwnFault(cause: unknown): boolean {
  return refusalOf(cause) === undefined
}

function refusalOf(cause: unknown): string | undefined {
  if (cause instanceof OpFailure) return cause.code
  return isSystemError(cause) ? readSystemError(cause).code : undefined
}

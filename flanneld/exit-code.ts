import { AlreadyRunningError, ConfigError, PermissionError, UsageError } from '../lib/errors.ts'

/** Exit codes by sysexits(3), as the documentation promises them; 0 is only for a clean stop. */
export function exitCodeOf(cause: unknown): number {
  if (cause instanceof UsageError) return 2
  if (cause instanceof AlreadyRunningError) return 75
  if (cause instanceof PermissionError) return 77
  if (cause instanceof ConfigError) return 78
  return 1
}

/** Thrown by a call of the operating system, which says by its `code` what was wrong. */
export function isSystemError(cause: unknown): cause is NodeJS.ErrnoException {
  return cause instanceof Error && 'code' in cause && typeof cause.code === 'string' && 'syscall' in cause
}

/** What node calls "Unknown system error -122". Source: linux/asm-generic/errno.h; mips and sparc have other numbers. */
const UNNAMED: ReadonlyMap<number, readonly [code: string, text: string]> = new Map([
  [37, ['ENOLCK', 'no locks available']],
  [116, ['ESTALE', 'stale file handle']],
  [117, ['EUCLEAN', 'the file system is damaged']],
  [122, ['EDQUOT', 'disk quota exceeded']],
  [123, ['ENOMEDIUM', 'no medium found']],
])

/** The name and the text of anything that a file system call threw; EIO where it has no name. */
export function readSystemError(cause: unknown): { readonly code: string; readonly message: string } {
  if (!isSystemError(cause)) return { code: 'EIO', message: cause instanceof Error ? cause.message : String(cause) }
  const [code, text] = UNNAMED.get(-(cause.errno ?? 0)) ?? []
  if (code === undefined) return { code: cause.code ?? 'EIO', message: cause.message }
  const { syscall, path } = cause
  return { code, message: `${code}: ${text}, ${syscall}${path === undefined ? '' : ` '${path}'`}` }
}

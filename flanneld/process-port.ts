/** What the rest of the program may know of its process; only main.ts fills it. */
export interface ProcessPort {
  /** Aborted when the process shall end. */
  readonly stop: AbortSignal
  readonly version: string
  readonly pid: number
  readonly uid: number
  readonly env: Readonly<Record<string, string | undefined>>
  /** SIGHUP. */
  readonly onReload: (reload: () => void) => void
  /** What nothing else has caught; without a listener it ends the process. */
  readonly onFault: (hear: (cause: unknown) => void) => void
  readonly usage: () => { readonly cpuSeconds: number; readonly residentBytes: number }
}

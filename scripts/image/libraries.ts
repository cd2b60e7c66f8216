import { execFileSync } from 'node:child_process'
import { realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'

/**
 * Paths of the shared libraries that the programs load, and of the loader itself, as the programs ask for them. Said by ldd(1),
 * which runs the loader of this machine: so for this machine's architecture only. @throws when one is missing
 */
export function librariesOf(programs: readonly string[]): readonly string[] {
  if (programs.length === 0) return []
  // All at once: each start of ldd is that of a shell.
  const said = execFileSync('ldd', programs, { encoding: 'utf8', env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' } })
  const found = new Set<string>()
  let [program] = programs
  for (const line of said.split('\n')) {
    // Where there are several it says before each what it is about.
    program = /^(\/.*):$/.exec(line)?.[1] ?? program
    const missing = /^\s*(\S+) => not found/.exec(line)
    if (missing !== null) throw new Error(`${program} needs ${missing[1]}, which is not on this machine`)
    const path = /^\s*(?:\S+ => )?(\/\S+) \(0x/.exec(line)?.[1]
    if (path !== undefined) found.add(path)
  }
  return [...found].sort()
}

/** Where a file stands on a system whose /lib is a link into /usr: the folder is the real one, the name stays (libc.so.6). */
export function realPlace(path: string): string {
  return join(realpathSync(dirname(path)), path.slice(path.lastIndexOf('/') + 1))
}

import { execFileSync } from 'node:child_process'
import { realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'

/**
 * Paths of the shared libraries that the programs load, and of the loader itself, as the programs ask for them. Said by ldd(1),
 * which runs the loader of this machine: so for this machine's architecture only. @throws when one is missing
 */
export function librariesOf(programs: readonly string[]): readonly string[] {
  const found = new Set<string>()
  for (const program of programs) for (const library of ask(program)) found.add(library)
  return [...found].sort()
}

function ask(program: string): readonly string[] {
  const said = execFileSync('ldd', [program], { encoding: 'utf8', env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' } })
  return said.split('\n').flatMap((line) => {
    const missing = /^\s*(\S+) => not found/.exec(line)
    if (missing !== null) throw new Error(`${program} needs ${missing[1]}, which is not on this machine`)
    const path = /^\s*(?:\S+ => )?(\/\S+) \(0x/.exec(line)?.[1]
    return path === undefined ? [] : [path]
  })
}

/** Where a file stands on a system whose /lib is a link into /usr: the folder is the real one, the name stays (libc.so.6). */
export function realPlace(path: string): string {
  return join(realpathSync(dirname(path)), path.slice(path.lastIndexOf('/') + 1))
}

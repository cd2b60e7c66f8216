import { chmod, mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Whatever the umask, other programs must be able to come through. */
export async function makeDirectory(directory: string): Promise<void> {
  const first = await mkdir(directory, { recursive: true })
  for (let made = directory; first !== undefined && made.length >= first.length; made = dirname(made)) {
    await chmod(made, 0o755)
  }
}

import { readFile, readlink } from 'node:fs/promises'

/** Of this network namespace of this host, until the host is booted anew; undefined: it cannot be read. */
export async function bootMark(): Promise<string | undefined> {
  try {
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8')
    // Hosts that are namespaces of one machine share its boot.
    return `${boot.trim()} ${await readlink('/proc/self/ns/net')}`
  } catch {
    return undefined
  }
}

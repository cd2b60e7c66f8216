import { posix } from 'node:path'

/** Keys from `key` up to, not including, `end`; one key alone without `end`. */
export interface KeyRange {
  readonly key: Buffer
  readonly end?: Buffer
}

/** Joined like a path, as flannel does: doubled and last slashes vanish, a relative prefix stays relative. */
export function joinKey(prefix: string, name: string): string {
  return posix.join(prefix, name)
}

/** All keys that start with `prefix`, which must not be empty. */
export function keysBelow(prefix: string): KeyRange {
  const key = Buffer.from(prefix)
  const end = Buffer.from(key)
  const last = end.length - 1
  // Prefixes end in a slash, never in 0xff.
  end[last] = (end[last] ?? 0) + 1
  return { key, end }
}

import { closeSync, openSync } from 'node:fs'
import koffi from 'koffi'

const libc = koffi.load(null)
const unshare = libc.func('int unshare(int)')
const setns = libc.func('int setns(int, int)')
const CLONE_NEWNET = 0x40000000

/**
 * Moves the calling thread, and the programs and sockets that it starts from now on, into a new network namespace; the result
 * brings it back. Threads of the pool stay where they are. Needs root. For tests.
 */
export function enterNewNetworkNamespace(): { leave(): void } {
  const before = openSync('/proc/thread-self/ns/net', 'r')
  if (unshare(CLONE_NEWNET) !== 0) {
    closeSync(before)
    throw new Error(`unshare(CLONE_NEWNET) failed with errno ${koffi.errno()}`)
  }
  return {
    leave() {
      const result = setns(before, CLONE_NEWNET)
      closeSync(before)
      if (result !== 0) throw new Error(`setns failed with errno ${koffi.errno()}`)
    },
  }
}

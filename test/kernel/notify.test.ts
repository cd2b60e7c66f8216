import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  AF_UNIX,
  bindSocket,
  closeDescriptor,
  MSG_DONTWAIT,
  openSocket,
  receiveBytes,
  SOCK_DGRAM,
} from '../../kernel/ffi/libc.ts'
import { createNotifier } from '../../kernel/ffi/notify.ts'

describe('a notifier', () => {
  const directory = mkdtempSync(join(tmpdir(), 'notify-'))
  after(() => rmSync(directory, { recursive: true }))

  const places: [name: string, socketPath: string][] = [
    ['a path', join(directory, 'notify')],
    ['an abstract name', `@flanneld-test-${directory.slice(-6)}`],
  ]
  for (const [name, socketPath] of places) {
    it(`sends one datagram to ${name}`, () => {
      const manager = listen(socketPath)
      const notifier = createNotifier(socketPath)
      notifier.send('READY=1\nSTATUS=leading 10.5.72.0/24')
      notifier.send('WATCHDOG=1')
      const buffer = Buffer.alloc(100)
      assert.equal(
        buffer.toString('utf8', 0, receiveBytes(manager, buffer, MSG_DONTWAIT)),
        'READY=1\nSTATUS=leading 10.5.72.0/24',
      )
      assert.equal(buffer.toString('utf8', 0, receiveBytes(manager, buffer, MSG_DONTWAIT)), 'WATCHDOG=1')
      notifier.close()
      notifier.send('STOPPING=1')
      notifier.close()
      assert.ok(receiveBytes(manager, buffer, MSG_DONTWAIT) < 0)
      closeDescriptor(manager)
    })
  }

  it('stays silent where nobody listens', () => {
    for (const socketPath of [undefined, '', 'relative', '@', join(directory, 'absent'), `/${'x'.repeat(200)}`]) {
      const notifier = createNotifier(socketPath)
      notifier.send('READY=1')
      notifier.close()
    }
  })

  it('does not wait for a manager that no longer reads', () => {
    const manager = listen(join(directory, 'full'))
    const notifier = createNotifier(join(directory, 'full'))
    for (let count = 0; count < 2000; count += 1) notifier.send('WATCHDOG=1')
    notifier.close()
    closeDescriptor(manager)
  })
})

function listen(socketPath: string): number {
  const fd = openSocket(AF_UNIX, SOCK_DGRAM, 0)
  const name = Buffer.from(socketPath.replace('@', '\0'))
  assert.equal(bindSocket(fd, Buffer.concat([Uint8Array.of(AF_UNIX, 0), name])), 0)
  return fd
}

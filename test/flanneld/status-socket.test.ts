import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { askDaemon } from '../../flanneld/commands/ask-daemon.ts'
import { askStatus } from '../../flanneld/commands/status.ts'
import type { StatusDocument } from '../../flanneld/status/status.ts'
import { StatusSocket } from '../../flanneld/status/status-socket.ts'
import { AlreadyRunningError } from '../../lib/errors.ts'
import { exampleStatus, peerStatus } from './status-example.ts'

const never = new AbortController().signal

describe('the status socket', () => {
  let folder: string
  let path: string
  let document: StatusDocument
  let socket: StatusSocket
  let ordered = 0
  const orders = {
    finish: () => 'finished',
    switch: () => {
      ordered += 1
      return 'done'
    },
  }
  const limits = { requestMs: 150, connections: 8, headerBytes: 8192 }
  const create = () => new StatusSocket({ status: () => document, orders }, { path, limits })

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'status-'))
    path = join(folder, 'run', 's.sock')
    document = exampleStatus()
    socket = create()
  })
  afterEach(async () => {
    await socket.stop()
    rmSync(folder, { recursive: true })
  })

  it('serves the document to its owner and group', async () => {
    await socket.listen()
    assert.equal(statSync(path).mode & 0o7777, 0o660)
    assert.deepEqual(await askStatus(path, never), document)
    document = exampleStatus({
      pid: 9,
      peers: Array.from({ length: 5000 }, (_unused, index) => peerStatus(String(index))),
    })
    assert.deepEqual(await askStatus(path, never), document)
    await socket.stop()
    assert.equal(existsSync(path), false)
  })

  it('takes orders by POST only, and answers each', async () => {
    await socket.listen()
    ordered = 0
    assert.equal(await askDaemon(path, { method: 'POST', path: '/switch' }, never), 'done\n')
    assert.equal(await askDaemon(path, { method: 'POST', path: '/switch?finish' }, never), 'finished\n')
    assert.equal(ordered, 1)
    await assert.rejects(askDaemon(path, { method: 'GET', path: '/switch' }, never), /answered with 404/)
    await assert.rejects(askDaemon(path, { method: 'POST', path: '/' }, never), /answered with 404/)
    assert.equal(ordered, 1)
  })

  it('replaces one that nobody serves any more', async () => {
    await socket.listen()
    // What a killed process leaves: the name of a socket that is gone.
    renameSync(path, `${path}.kept`)
    await socket.stop()
    renameSync(`${path}.kept`, path)
    socket = create()
    await socket.listen()
    assert.equal((await askStatus(path, never)).pid, 4711)
  })

  it('does not replace one that is served', async () => {
    await socket.listen()
    await assert.rejects(create().listen(), AlreadyRunningError)
    assert.equal((await askStatus(path, never)).pid, 4711)
  })

  it('does not replace what is no socket, nor take a path that is too long', async () => {
    await socket.listen()
    const file = join(folder, 'file')
    writeFileSync(file, 'precious')
    await assert.rejects(
      new StatusSocket({ status: () => document, orders }, { path: file }).listen(),
      /is no socket; remove it/,
    )
    await assert.rejects(
      new StatusSocket({ status: () => document, orders }, { path: join(folder, 'x'.repeat(100)) }).listen(),
      /too long/,
    )
  })

  it('leaves a successor’s socket alone when it stops', async () => {
    await socket.listen()
    rmSync(path)
    const successor = create()
    await successor.listen()
    await socket.stop()
    assert.equal((await askStatus(path, never)).pid, 4711)
    await successor.stop()
  })

  it('answers nothing else, whatever the request', async () => {
    await socket.listen()
    const line = fc.tuple(
      fc.constantFrom('GET', 'POST', 'get', 'PUT', 'OPTIONS', 'CONNECT'),
      fc.oneof(fc.constantFrom('/', '/x', '/../', '*'), fc.webPath()),
      fc.constantFrom('HTTP/1.1', 'HTTP/9', ''),
    )
    const requests = [
      ...fc.sample(
        line.map(([method, target, version]) => `${method} ${target} ${version}\r\nHost: x\r\n\r\n`),
        20,
      ),
      ...fc.sample(fc.string({ unit: 'binary' }), 20),
    ]
    for (const text of requests) {
      const answer = await raw(path, text)
      const allowed = /^(GET|HEAD) \/([?#][^ ]*)? HTTP\/1\.1\r\n/.test(text)
      assert.ok(allowed || !answer.startsWith('HTTP/1.1 200'), JSON.stringify([text, answer]))
    }
    assert.equal((await askStatus(path, never)).pid, 4711)
  })
})

async function raw(path: string, text: string): Promise<string> {
  const socket = connect({ path })
  let answer = ''
  socket.on('error', () => {})
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    answer += chunk
  })
  socket.end(text)
  await once(socket, 'close')
  return answer
}

import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Server, Socket } from 'node:net'
import { connect, createServer } from 'node:net'
import { TcpProxy } from '../../lab/tcp-proxy.ts'
import { systemClock } from '../../lib/clock.ts'

describe('tcp proxy', function () {
  this.timeout(60_000)
  const soon = () => AbortSignal.timeout(30_000)
  let server: Server
  let proxy: TcpProxy
  const sockets: Socket[] = []

  // The server sends back what it gets, and 10,000 bytes on the word "flood".
  beforeEach(async () => {
    server = createServer((socket) => {
      socket.on('error', () => undefined)
      socket.on('data', (chunk) => socket.write(chunk.toString() === 'flood' ? 'x'.repeat(10_000) : chunk))
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const bound = server.address()
    assert.ok(bound !== null && typeof bound === 'object')
    proxy = await TcpProxy.listen({ target: { host: '127.0.0.1', port: bound.port } })
  })

  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy()
    await proxy.close()
    server.close()
  })

  async function client(): Promise<{ socket: Socket; got: () => string; closed: Promise<unknown> }> {
    const socket = connect(proxy.port, proxy.host)
    sockets.push(socket)
    let text = ''
    let fault: Error | undefined
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      text += chunk
    })
    socket.on('error', (cause) => {
      fault = cause
    })
    const closed = new Promise((resolve) => socket.on('close', () => resolve(fault)))
    await once(socket, 'connect', { signal: soon() })
    return { socket, got: () => text, closed }
  }

  async function until(condition: () => boolean): Promise<void> {
    const limit = soon()
    while (!condition()) await systemClock.sleep(2, limit)
  }

  async function code(closed: Promise<unknown>): Promise<string | undefined> {
    return ((await closed) as NodeJS.ErrnoException | undefined)?.code
  }

  it('passes bytes both ways', async () => {
    const { socket, got } = await client()
    socket.write('hello')
    await until(() => got() === 'hello')
    assert.deepEqual(await proxy.counts(), { open: 1, accepted: 1, bytesToClient: 5 })
  })

  it('cut resets what is open and takes new connections', async () => {
    const { socket, got, closed } = await client()
    socket.write('hello')
    await until(() => got() === 'hello')
    await proxy.cut()
    assert.equal(await code(closed), 'ECONNRESET')
    const next = await client()
    next.socket.write('again')
    await until(() => next.got() === 'again')
  })

  it('cutAfter lets exactly that many bytes pass, once', async () => {
    const { socket, got, closed } = await client()
    await proxy.cutAfter(4_000)
    socket.write('flood')
    // Whether node reports the reset that comes right behind data as such or as an end is its own matter.
    await closed
    assert.equal(got().length, 4_000)
    assert.equal((await proxy.counts()).bytesToClient, 4_000)
    const next = await client()
    next.socket.write('flood')
    await until(() => next.got().length === 10_000)
  })

  it('refuse closes the port and leaves what is open; allow opens the same port', async () => {
    const { socket, got } = await client()
    const { port } = proxy
    await proxy.setMode('refuse')
    await assert.rejects(client(), { code: 'ECONNREFUSED' })
    socket.write('still')
    await until(() => got() === 'still')
    await proxy.setMode('allow')
    assert.equal(proxy.port, port)
    await client()
  })

  it('black hole takes everything and answers nothing, until it is lifted', async () => {
    const old = await client()
    await proxy.setMode('black-hole')
    const young = await client()
    old.socket.write('old')
    young.socket.write('young')
    await systemClock.sleep(100, soon())
    assert.deepEqual([old.got(), young.got()], ['', ''])
    await proxy.setMode('allow')
    await until(() => old.got() === 'old' && young.got() === 'young')
  })
})

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request } from 'node:http'
import { connect, type Socket } from 'node:net'
import fc from 'fast-check'
import { type Check, HealthServer, healthAnswer } from '../../flanneld/status/health.ts'
import type { IpAddr } from '../../lib/address.ts'
import { until } from '../until.ts'

const good = (name: string): Check => ({ name, ok: true, text: '' })
const bad = (name: string, text: string): Check => ({ name, ok: false, text })
const loopback = '127.0.0.1' as IpAddr

describe('the health port', () => {
  let live: Check[]
  let ready: Check[]
  const sources = { live: () => live, ready: () => ready, metrics: () => 'flannel_ready 1\n' }
  const ask = (path: string) => {
    const { status, body } = healthAnswer(new URL(`http://x${path}`), sources)
    return `${status} ${body}`
  }

  beforeEach(() => {
    live = [good('event-loop'), good('reconciler')]
    ready = [good('own-lease'), good('required-objects')]
  })

  it('answers with the bodies of the contract', () => {
    assert.equal(ask('/healthz'), '200 flanneld is running')
    assert.equal(ask('/livez'), '200 flanneld is running')
    assert.equal(ask('/readyz'), '200 flanneld is ready')
    assert.equal(ask('/metrics'), '200 flannel_ready 1\n')
    for (const path of ['/', '/healthz/', '/readyzz', '//readyz', '/HEALTHZ', '/%72eadyz'])
      assert.match(ask(path), /^404 /, path)
  })

  it('names each reason on its line', () => {
    ready = [bad('own-lease', 'no subnet leased yet'), good('x'), bad('required-objects', 'link flannel.1:\nEPERM')]
    assert.equal(ask('/readyz'), '503 flanneld is not ready yet\nno subnet leased yet\nlink flannel.1: EPERM')
    live = [bad('reconciler', 'stuck for 95 s')]
    assert.match(ask('/livez'), /^503 .*\nstuck for 95 s$/)
    assert.match(ask('/healthz'), /^503 /)
  })

  it('shows every check with ?verbose and leaves out what ?exclude names', () => {
    ready = [bad('own-lease', 'none'), good('required-objects')]
    assert.equal(
      ask('/readyz?verbose'),
      '503 flanneld is not ready yet\n[-]own-lease failed: none\n[+]required-objects ok',
    )
    assert.equal(ask('/readyz?exclude=own-lease'), '200 flanneld is ready')
    assert.equal(
      ask('/readyz?verbose&exclude=own-lease&exclude=x'),
      '200 flanneld is ready\n[ ]own-lease excluded\n[+]required-objects ok',
    )
  })

  describe('on the network', () => {
    const limits = { requestMs: 150, connections: 8, headerBytes: 8192 }
    let server: HealthServer
    let port: number
    let sockets: Socket[]

    beforeEach(async () => {
      server = new HealthServer(sources, limits)
      port = await server.listen(loopback, 0)
      sockets = []
    })
    afterEach(async () => {
      for (const socket of sockets) socket.destroy()
      await server.stop()
    })

    function open(): Socket {
      const socket = connect({ host: loopback, port })
      socket.on('error', () => {})
      // An end that nobody reads is not seen.
      socket.resume()
      sockets.push(socket)
      return socket
    }

    function closed(socket: Socket): Promise<void> {
      return new Promise((resolve) => {
        socket.once('close', () => resolve())
      })
    }

    async function raw(text: string | Uint8Array): Promise<string> {
      const socket = open()
      let answer = ''
      socket.setEncoding('latin1').on('data', (chunk: string) => {
        answer += chunk
      })
      socket.write(text)
      await closed(socket)
      return answer
    }

    it('answers GET and HEAD without an end of line, and nothing else', async () => {
      const answer = await raw('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n')
      assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/)
      assert.ok(answer.endsWith('\r\n\r\nflanneld is ready'), answer)
      assert.ok((await raw('HEAD /readyz HTTP/1.1\r\nHost: x\r\n\r\n')).endsWith('\r\n\r\n'))
      assert.match(await raw('POST /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx'), /^HTTP\/1\.1 405 /)
      assert.match(await raw('GET /metrics HTTP/1.0\r\n\r\n'), /text\/plain; version=0\.0\.4/)
    })

    for (const path of [
      '/../etc/passwd',
      '/x/../readyz',
      '/%2e%2e/readyz',
      'http://other/readyz',
      '*',
      `/${'x'.repeat(2000)}`,
      '/readyz/..%2f',
    ]) {
      it(`has nothing at ${path.slice(0, 30)}`, async () => {
        assert.match(await raw(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`), /^HTTP\/1\.1 40[04] /)
      })
    }

    it('refuses 10 MB of headers', async () => {
      const answer = await raw(`GET /readyz HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(10_000_000)}\r\n\r\n`)
      // 408: this machine was so busy that the time for headers was over first.
      assert.match(answer, /^(HTTP\/1\.1 4(31|08) |$)/)
      assert.match(await raw('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n'), / 200 /)
    })

    it('cuts off who sends slowly', async () => {
      const socket = open()
      socket.write('GET /readyz HTTP/1.1\r\nHost')
      let gone = false
      const going = closed(socket).then(() => {
        gone = true
      })
      await until(2_000, 'it is cut off', async () => assert.ok(gone))
      await going
    })

    it('serves on while 1,000 sockets are opened', async () => {
      const crowd = Array.from({ length: 1000 }, open)
      await Promise.all(crowd.map(closed))
      assert.match(await raw('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n'), / 200 /)
    })

    it('says when its port is taken, and can be asked again', async () => {
      const second = new HealthServer(sources)
      for (let tries = 0; tries < 2; tries += 1) await assert.rejects(second.listen(loopback, port), /EADDRINUSE/)
      assert.ok((await second.listen(loopback, 0)) > 0)
      await second.stop()
    })

    it('survives garbage', async () => {
      const garbage = fc.sample(fc.uint8Array({ maxLength: 200 }), 20)
      for (const bytes of garbage) {
        const socket = open()
        socket.end(bytes)
        await closed(socket)
      }
      const [response] = await once(request({ host: loopback, port, path: '/livez', agent: false }).end(), 'response')
      response.resume()
      assert.equal(response.statusCode, 200)
    })
  })
})

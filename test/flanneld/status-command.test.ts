import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { askStatus, runStatus } from '../../flanneld/commands/status.ts'
import { statusLine, statusText } from '../../flanneld/commands/status-text.ts'
import type { StatusDocument } from '../../flanneld/status/status.ts'
import { UsageError } from '../../lib/errors.ts'
import { VirtualClock } from '../fakes/clock.ts'
import { exampleStatus, peerStatus } from './status-example.ts'

const never = new AbortController().signal

describe('flanneld status', () => {
  let clock: VirtualClock
  let printed: string
  let complained: string
  const run = (ask: () => Promise<StatusDocument>, flags: Record<string, string | number | boolean> = {}) => {
    printed = ''
    complained = ''
    clock = new VirtualClock()
    const print = (text: string) => {
      printed += text
    }
    const complain = (text: string) => {
      complained += text
    }
    return runStatus({ clock, ask, print, complain }, new Map(Object.entries(flags)), never)
  }

  for (const [state, code] of [
    ['ok', 0],
    ['degraded', 1],
    ['down', 2],
  ] as const) {
    it(`ends with ${code} for ${state}`, async () =>
      assert.equal(await run(async () => exampleStatus({ state })), code))
  }

  it('ends with 3 when it cannot ask, and says why', async () => {
    const missing = join(tmpdir(), `no-such-${process.pid}.sock`)
    assert.equal(await run(() => askStatus(missing, never)), 3)
    assert.match(complained, /not running: nobody answers at/)
    assert.equal(await run(() => askStatus(undefined, never)), 3)
  })

  it('ends with 3 when something else answers', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'status-'))
    const path = join(folder, 's.sock')
    for (const body of [
      'hello',
      '{"apiVersion":"other/v1","state":"ok"}',
      '{"apiVersion":"flannel.status/v1","state":"toString"}',
      '[]',
      'null',
    ]) {
      const server = createServer((socket) =>
        socket.resume().end(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`),
      ).listen(path)
      await once(server, 'listening')
      assert.equal(await run(() => askStatus(path, never)), 3, body)
      assert.match(complained, /does not answer with a flannel.status\/v1 document/)
      await new Promise((resolve) => server.close(resolve))
    }
    rmSync(folder, { recursive: true })
  })

  it('prints JSON, one line, or a page', async () => {
    await run(async () => exampleStatus(), { o: 'json' })
    assert.deepEqual(JSON.parse(printed), exampleStatus())
    await run(async () => exampleStatus(), { brief: true })
    assert.equal(printed, 'ok, lease 10.5.1.0/24, backend vxlan, peers 1/1, datastore up\n')
    await run(async () => exampleStatus())
    assert.match(printed, /SUBNET +PUBLIC IP +PATH +STATE +REASON\n10\.5\.2\.0\/24 +192\.168\.0\.2 +tunnel +ok\n/)
    await assert.rejects(
      run(async () => exampleStatus(), { o: 'xml' }),
      UsageError,
    )
  })

  it('shows what the guard has refused, and that counting drops nothing', () => {
    const offender = {
      rule: 'outer-source',
      source: '192.0.2.9',
      device: 'eth0',
      packets: 2,
      lastSeen: '2026-11-21T09:00:00.000Z',
    }
    const guard = { mode: 'count', refused: { 'outer-source': 2, container: 0 }, offenders: [offender] } as const
    const text = statusText(exampleStatus({ guard }))
    assert.match(text, /^guard +count \(counts only, drops nothing\); packets refused: outer-source 2$/m)
    assert.match(text, /^ {2}outer-source: 192\.0\.2\.9 by eth0, 2 packets, last 2026-11-21T09:00:00\.000Z$/m)
    assert.match(
      statusText(exampleStatus({ guard: { ...guard, mode: 'on', refused: {} } })),
      /on \(drops\); packets refused: none/,
    )
    assert.doesNotMatch(statusText(exampleStatus()), /^guard/m)
  })

  it('shows how many connections a change of the backend ends, or why nobody knows', () => {
    const row = (count: number | null, unknown = '') =>
      /^ends.*$/m.exec(statusText(exampleStatus({ endingConnections: { count, unknown } })))?.[0]
    assert.equal(row(1), 'ends       1 masqueraded connection to peers that have not moved, when they do')
    assert.match(row(12) ?? '', / 12 masqueraded connections /)
    assert.match(row(null, 'not permitted (EPERM)') ?? '', /how many is not known: not permitted \(EPERM\)$/)
    assert.doesNotMatch(statusText(exampleStatus()), /^ends/m)
  })

  it('waits until all is well', async () => {
    let asked = 0
    const result = run(
      async () => {
        asked += 1
        if (asked < 3) throw new Error('not yet')
        return exampleStatus({ state: asked < 5 ? 'down' : 'ok' })
      },
      { wait: 300_000 },
    )
    await clock.advance(60_000)
    assert.equal(await result, 0)
    assert.equal(asked, 5)
  })

  it('waits no longer than it was told', async () => {
    const result = run(async () => exampleStatus({ state: 'degraded' }), { wait: 2000, brief: true })
    await clock.advance(1900)
    assert.equal(printed, '')
    await clock.advance(100)
    assert.equal(await result, 1)
    assert.match(printed, /^degraded/)
  })

  it('shows what is wrong, and lets no lease drive the terminal', () => {
    const status = exampleStatus({
      state: 'down',
      ready: false,
      notReady: ['no subnet leased yet'],
      lease: null,
      peers: [peerStatus('2'), peerStatus('3', { state: 'degraded', reason: 'no reply\u001b[2J' })],
      rejected: [
        { id: '10.9.0.0-24', reason: 'outside-network', text: 'evil\r\u202e' },
        { id: '10.5.9.0-24', reason: 'unclaimed-reservation', text: 'nobody is wrong' },
      ],
      conditions: [
        {
          code: 'datastore-down',
          severity: 'warning',
          since: '2026-11-21T09:00:00.000Z',
          text: 'no answer',
          remedy: 'look',
        },
      ],
    })
    const text = statusText(status)
    for (const part of [
      'down, not ready',
      'no reply?[2J',
      '10.9.0.0-24: outside-network: evil??',
      'datastore-down since',
      '; look',
      'no subnet leased yet',
    ]) {
      assert.ok(text.includes(part), part)
    }
    assert.match(statusLine(status), /^down, lease none, .*peers 1\/2, rejected 1, .*datastore-down$/)
    assert.match(
      statusText(exampleStatus({ peers: Array.from({ length: 60 }, (_unused, index) => peerStatus(String(index))) })),
      /and 10 more/,
    )
    assert.match(statusText(exampleStatus({ external: null, network: null, backend: null, peers: [] })), /none yet/)
  })
})

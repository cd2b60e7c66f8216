import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { askStatus, runStatus } from '../../flanneld/commands/status.ts'
import { statusLine, statusText } from '../../flanneld/commands/status-text.ts'
import { Histogram, renderMetrics } from '../../flanneld/metrics.ts'
import { ConditionSet, overallState, type StatusDocument } from '../../flanneld/status.ts'
import { StatusSocket } from '../../flanneld/status-socket.ts'
import { AlreadyRunningError, UsageError } from '../../lib/errors.ts'
import { VirtualClock } from '../fakes/clock.ts'
import { exampleStatus, peerStatus } from './status-example.ts'

const never = new AbortController().signal

describe('conditions', () => {
  const down = { code: 'datastore-down', severity: 'warning', text: 'no answer', remedy: 'look' } as const
  let clock: VirtualClock
  let changes: string[]
  let set: ConditionSet

  beforeEach(() => {
    clock = new VirtualClock()
    changes = []
    set = new ConditionSet({
      clock,
      onChange: ({ condition, holds }) => changes.push(`${holds ? '+' : '-'}${condition.code} ${condition.text}`),
    })
  })

  it('keep their beginning when their text changes', async () => {
    set.set(down)
    const since = set.list()[0]?.since
    await clock.advance(5000)
    set.set({ ...down, text: 'still none' })
    set.set({ ...down, text: 'still none' })
    assert.deepEqual(set.list(), [{ ...down, text: 'still none', since }])
    set.clear('datastore-down')
    set.clear('datastore-down')
    set.set(down)
    assert.notEqual(set.list()[0]?.since, since)
    assert.deepEqual(changes, [
      '+datastore-down no answer',
      '+datastore-down still none',
      '-datastore-down still none',
      '+datastore-down no answer',
    ])
  })

  it('of a group are replaced as a whole', () => {
    set.set(down)
    set.replace('kernel', [
      { ...down, code: 'a' },
      { ...down, code: 'b' },
    ])
    set.replace('kernel', [
      { ...down, code: 'b' },
      { ...down, code: 'c' },
    ])
    assert.deepEqual(
      set.list().map(({ code }) => code),
      ['b', 'c', 'datastore-down'],
    )
    assert.equal(set.has('a'), false)
    set.replace('kernel', [])
    assert.deepEqual(
      set.list().map(({ code }) => code),
      ['datastore-down'],
    )
  })

  it('stand in the order of their weight', () => {
    for (const severity of ['info', 'warning', 'error'] as const) set.set({ ...down, code: severity, severity })
    assert.deepEqual(
      set.list().map(({ code }) => code),
      ['error', 'warning', 'info'],
    )
  })

  it('and peers make the one word', () => {
    const base = { ready: true, conditions: [], peers: [peerStatus('1')] }
    assert.equal(overallState(base), 'ok')
    assert.equal(
      overallState({
        ...base,
        conditions: [{ ...down, severity: 'info' }],
        peers: [peerStatus('1', { state: 'skipped' })],
      }),
      'ok',
    )
    assert.equal(overallState({ ...base, conditions: [down] }), 'degraded')
    assert.equal(overallState({ ...base, peers: [peerStatus('1', { state: 'held' })] }), 'degraded')
    assert.equal(overallState({ ...base, ready: false }), 'down')
  })
})

describe('the status socket', () => {
  let folder: string
  let path: string
  let document: StatusDocument
  let socket: StatusSocket
  const limits = { requestMs: 150, connections: 8, headerBytes: 8192 }
  const create = () => new StatusSocket({ status: () => document }, { path, limits })

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
      new StatusSocket({ status: () => document }, { path: file }).listen(),
      /is no socket; remove it/,
    )
    await assert.rejects(
      new StatusSocket({ status: () => document }, { path: join(folder, 'x'.repeat(100)) }).listen(),
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
      rejected: [{ id: '10.9.0.0-24', reason: 'outside-network', text: 'evil\r\u202e' }],
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

describe('metrics', () => {
  it('are in the text format, with the names of the conventions', () => {
    const reconcileDuration = new Histogram([0.01, 0.1])
    for (const seconds of [0.001, 0.05, 0.05, 7]) reconcileDuration.observe(seconds)
    const status = exampleStatus({
      peers: [peerStatus('2'), peerStatus('3', { state: 'held' })],
      rejected: [
        { id: 'x', reason: 'a"b\\c\nd', text: '' },
        { id: 'y', reason: 'a"b\\c\nd', text: '' },
      ],
    })
    const text = renderMetrics({
      status,
      reconcileDuration,
      eventLoopLagSeconds: 0.002,
      process: { cpuSeconds: 1.5, residentBytes: 60e6, startTimeSeconds: 1e9 },
    })
    for (const line of [
      'flannel_build_info{version="1.2.3"} 1',
      'flannel_ready 1',
      'flannel_leases{state="own"} 1',
      'flannel_leases{state="accepted"} 1',
      'flannel_leases{state="held"} 1',
      'flannel_lease_expiry_timestamp_seconds 1795338000',
      'flannel_lease_renewals_total{result="ok"} 1',
      'flannel_peers_rejected{reason="a\\"b\\\\c\\nd"} 2',
      'flannel_datastore_up 1',
      'flannel_datastore_resyncs_total{cause="start"} 1',
      'flannel_reconcile_duration_seconds_bucket{le="0.01"} 1',
      'flannel_reconcile_duration_seconds_bucket{le="0.1"} 3',
      'flannel_reconcile_duration_seconds_bucket{le="+Inf"} 4',
      'flannel_reconcile_duration_seconds_count 4',
      'flannel_drift_repaired_total{kind="route"} 2',
      'flannel_netlink_overruns_total 0',
      'flannel_event_loop_lag_seconds 0.002',
      'process_resident_memory_bytes 60000000',
    ]) {
      assert.ok(text.split('\n').includes(line), `${line} in\n${text}`)
    }
    for (const line of text.trimEnd().split('\n')) {
      assert.match(line, /^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{([a-z]+="([^"\\]|\\.)*",?)+\})? [-+\d.eE]+)$/)
    }
    assert.ok(text.endsWith('\n'))
  })
})

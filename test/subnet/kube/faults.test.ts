import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../../lib/clock.ts'
import { ConfigError } from '../../../lib/errors.ts'
import { Secret, silentLogger } from '../../../lib/log.ts'
import { KubeClient } from '../../../subnet/kube/client.ts'
import type { Material } from '../../../subnet/kube/kubeconfig.ts'
import { KubeLeaseStore } from '../../../subnet/kube/lease-store.ts'
import type { NodeNameOptions } from '../../../subnet/kube/node-name.ts'
import type { LeaseWait, StoreHealth } from '../../../subnet/types.ts'
import { attrs, hints, network, snapshotWhere } from '../../conformance/lease-store.ts'
import { until } from '../../until.ts'
import { ApiSimulator, bareNode, flannelNode, sendJson } from './api-simulator.ts'

const publicIp = 'flannel.alpha.coreos.com/public-ip'
const want = attrs('id-of-1', '192.168.64.1')

const byName = { nodeName: 'n1', podName: '', podNamespace: '' }

describe('leases from Kubernetes, on an API server with faults', function () {
  this.timeout(20_000)
  let api: ApiSimulator
  let over: AbortController

  beforeEach(async () => {
    over = new AbortController()
    api = new ApiSimulator()
    await api.start()
    for (const n of [2, 3]) api.put(flannelNode(n))
    api.put(bareNode(1))
  })

  afterEach(async () => {
    over.abort()
    await api.close()
  })

  interface OpenOptions {
    readonly token?: Material
    readonly tokenNow?: () => Material
    readonly answerMs?: number
    readonly watchMs?: number
    readonly node?: NodeNameOptions
    readonly ownFirst?: boolean
  }

  function open(options: OpenOptions = {}) {
    const { token, tokenNow, answerMs = 1_000, watchMs = 1_000, node = byName, ownFirst = false } = options
    const accessWith = (given: Material | undefined) => ({
      server: api.url,
      insecure: false,
      ...(given && { token: given }),
    })
    const again = tokenNow && { accessNow: async () => accessWith(tokenNow()) }
    const client = new KubeClient({ clock: systemClock }, { access: accessWith(token), answerMs, ...again })
    const store = new KubeLeaseStore(
      { client, clock: systemClock, log: silentLogger, random: () => 0 },
      {
        nodeId: 'id-of-1',
        node,
        annotationPrefix: 'flannel.alpha.coreos.com/',
        configOrigin: 'net-conf.json',
        times: { watchMs, graceMs: 200 },
      },
    )
    const running = store.run(over.signal, { ownFirst })
    running.catch(() => {})
    return { store, running }
  }

  it('are as new as the own one that was found right, whatever of the Node has changed before', async () => {
    const { store: first } = open()
    await first.acquire(want, hints, over.signal)
    const { store } = open()
    await snapshotWhere(store, ids(3))
    // A heartbeat, which tells nobody anything.
    api.put({ ...(api.node('n1') ?? bareNode(1)), status: { beat: 1 } })
    const seen = api.revision
    await until(5_000, 'it is heard of', async () => assert.equal(store.node?.version, String(seen)))
    const own = await store.acquire(want, hints, over.signal)
    assert.equal(own.version, String(seen))
    await snapshotWhere(store, ({ revision }) => BigInt(revision) >= BigInt(own.version))
  })

  const ids = (count: number) => (snapshot: { leases: ReadonlyMap<string, unknown> }) => snapshot.leases.size === count
  const health = async (store: KubeLeaseStore, good: (health: StoreHealth) => boolean) => {
    for await (const found of store.health.watch(AbortSignal.timeout(10_000))) if (good(found)) return found
    return assert.fail('the health never was so')
  }

  it('reads a list of several pages', async () => {
    for (let n = 10; n < 250; n += 1) api.put(flannelNode(n, { [publicIp]: `192.168.65.${n}` }))
    for (let n = 0; n < 200; n += 1) api.put({ metadata: { name: `stranger${n}` } })
    await snapshotWhere(open().store, ids(242))
  })

  it('has its own lease while the others cannot be listed, and says nothing of them', async () => {
    api.fault = (request, response) => {
      if (!request.url?.includes('limit=')) return false
      sendJson(response, 500, { message: 'overloaded' })
      return true
    }
    const { store } = open({ ownFirst: true })
    const own = await store.acquire(want, hints, over.signal)
    assert.equal(own.lease.id, 'n1')
    const stopped = AbortSignal.any([over.signal, AbortSignal.timeout(1_000)])
    for await (const { leases } of store.watch(stopped)) assert.fail(`${leases.size} leases are told`)
    for await (const { leases } of store.ownFirst.watch(over.signal)) {
      assert.deepEqual([...leases.keys()], [], 'what stood there before it was written')
      break
    }
    api.fault = () => false
    await snapshotWhere(store, ids(3))
  })

  for (const [name, code] of [
    ['may not be read alone', 403],
    ['is not there yet', 404],
  ] as const) {
    it(`finds the own Node in the list where it ${name}`, async () => {
      api.fault = (request, response) => {
        if (request.method !== 'GET' || !request.url?.endsWith('/nodes/n1')) return false
        sendJson(response, code, { message: 'no' })
        return true
      }
      const { store } = open({ ownFirst: true })
      await store.acquire(want, hints, over.signal)
      await snapshotWhere(store, ids(3))
      assert.equal(api.lists, 1)
    })
  }

  const ofOwn = ({ url }: { url: string }) => url.endsWith('/nodes/n1')

  it('reads the own Node by itself only for who wants it', async () => {
    await snapshotWhere(open().store, ids(2))
    assert.deepEqual(api.requests.filter(ofOwn), [])
  })

  for (const [how, answer] of [
    ['is not answered', () => {}],
    [
      'is to be asked for a minute later',
      (response: ServerResponse) => response.writeHead(429, { 'retry-after': '60' }).end(),
    ],
  ] as const) {
    it(`lists all after a second where the own Node ${how}`, async () => {
      api.fault = (request, response) => {
        if (request.method !== 'GET' || !request.url?.endsWith('/nodes/n1')) return false
        answer(response)
        return true
      }
      const began = systemClock.now()
      const { store } = open({ ownFirst: true, answerMs: 10_000 })
      await snapshotWhere(store, ids(2))
      const took = systemClock.now() - began
      assert.ok(took > 900 && took < 5_000, `${took} ms`)
      await health(store, ({ up }) => up)
    })
  }

  it('says why the own Node cannot be read', async () => {
    api.fault = (_request, response) => {
      sendJson(response, 403, { message: 'nodes "n1" is forbidden' })
      return true
    }
    const { error } = await health(open({ ownFirst: true }).store, ({ error }) => error !== undefined)
    assert.match(error ?? '', /"n1" is forbidden.*"verbs":\["get"\]/)
  })

  it('waits for a server that is not there, and says why', async () => {
    api.fault = (request) => request.socket.destroy() !== undefined
    const { store } = open()
    const { error, remedy } = await health(store, ({ error }) => error !== undefined)
    assert.match(error ?? '', /socket hang up|ECONNRESET/)
    assert.match(remedy ?? '', /API server/)
    api.fault = () => false
    await snapshotWhere(store, ids(2))
    await health(store, ({ up }) => up)
  })

  it('gives up a list that hangs', async () => {
    let hung = 0
    api.fault = () => {
      hung += 1
      return hung === 1
    }
    const { store } = open({ answerMs: 300 })
    await snapshotWhere(store, ids(2))
    assert.ok(hung >= 2)
  })

  it('takes a watch for dead that has not ended in time, and misses nothing', async () => {
    const { store } = open()
    await snapshotWhere(store, ids(2))
    // Half open: nothing comes any more, and nobody is told.
    api.fault = (request, response) => {
      if (!request.url?.includes('watch')) return false
      response.writeHead(200)
      response.flushHeaders()
      return true
    }
    api.endWatches()
    await until(5_000, 'it watches in vain', async () =>
      assert.equal(api.requests.at(-1)?.url?.includes('watch'), true),
    )
    api.put(flannelNode(4))
    const seen = api.requests.length
    await until(5_000, 'it watches anew', async () => assert.ok(api.requests.length > seen))
    api.fault = () => false
    await snapshotWhere(store, ids(3))
    assert.equal(api.lists, 1)
  })

  it('goes on where it was when a watch ends, is cut within an event, or sends what is no JSON', async () => {
    const { store } = open()
    await snapshotWhere(store, ids(2))
    const half = JSON.stringify({ type: 'ADDED', object: flannelNode(9) }).slice(0, 50)
    for (const [n, text] of [half, 'no JSON\n', ''].entries()) {
      let isCut = false
      api.fault = (request, response) => {
        if (isCut || !request.url?.includes('watch')) return false
        isCut = true
        response.end(text)
        return true
      }
      api.endWatches()
      await until(5_000, 'it was cut', async () => assert.ok(isCut))
      api.put(flannelNode(4 + n))
      await snapshotWhere(store, ids(3 + n))
    }
    assert.equal(api.lists, 1)
    api.endWatches()
    await until(5_000, 'it goes on from the last event', async () =>
      assert.match(api.requests.at(-1)?.url ?? '', new RegExp(`resourceVersion=${api.revision}&`)),
    )
  })

  it('lists anew after 410, and not in a storm when every watch is answered so', async () => {
    const { store } = open()
    await snapshotWhere(store, ids(2))
    api.expire()
    api.endWatches()
    await health(store, ({ resyncs }) => resyncs.get('expired') === 1)
    api.fault = (request, response) => {
      if (!request.url?.includes('watch')) return false
      response.end(`${JSON.stringify({ type: 'ERROR', object: { code: 410, message: 'too old' } })}\n`)
      return true
    }
    api.endWatches()
    const before = api.lists
    await systemClock.sleep(3_000, over.signal)
    const lists = api.lists - before
    assert.ok(lists >= 2 && lists <= 6, `${lists} lists in 3 s`)
    api.fault = () => false
    api.put(flannelNode(4))
    await snapshotWhere(store, ids(3))
  })

  for (const code of [429, 503]) {
    it(`leaves a server alone that answers ${code} with Retry-After`, async () => {
      const times: number[] = []
      api.fault = (_request, response) => {
        times.push(systemClock.now())
        if (times.length > 1) return false
        sendJson(response, code, { message: 'slow down' }, { 'retry-after': '1' })
        return true
      }
      await snapshotWhere(open().store, ids(2))
      assert.ok((times[1] ?? 0) - (times[0] ?? 0) >= 990, `${times}`)
    })
  }

  it('takes older events for what they are', async () => {
    const { store } = open()
    await snapshotWhere(store, ids(2))
    await until(5_000, 'it watches', async () => assert.ok(api.requests.at(-1)?.url?.includes('watch')))
    const old = api.node('n2') ?? flannelNode(2)
    api.put(flannelNode(2, { [publicIp]: '192.168.64.22' }))
    api.send({ type: 'MODIFIED', object: old })
    api.send({ type: 'DELETED', object: old })
    api.put(flannelNode(4))
    const { leases } = await snapshotWhere(store, ids(3))
    assert.equal(leases.get('n2')?.families.get(4)?.publicIp, '192.168.64.22')
  })

  it('reads the token file for each request, and once more after 401', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'kube-token-'))
    try {
      const file = join(folder, 'token')
      writeFileSync(file, 'first\n')
      // Renewed while the request with the old one is on its way.
      api.fault = (_request, response) => {
        if (api.requests.at(-1)?.token === 'second') return false
        writeFileSync(file, 'second\n')
        sendJson(response, 401, { message: 'Unauthorized' })
        return true
      }
      const { store } = open({ token: { file } })
      const faults: string[] = []
      const listen = async () => {
        for await (const { error } of store.health.watch(over.signal)) if (error !== undefined) faults.push(error)
      }
      listen().catch(() => {})
      await snapshotWhere(store, ids(2))
      const tokens = api.requests.slice(0, 2).map(({ token }) => token)
      assert.deepEqual([tokens, faults], [['first', 'second'], []])
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('reads credentials that stand in the kubeconfig itself anew after 401, and keeps them where that is no good file', async () => {
    const inline = (text: string) => ({ text: new Secret(text) })
    api.fault = (_request, response) => {
      if (api.requests.at(-1)?.token === 'second') return false
      sendJson(response, 401, { message: 'Unauthorized' })
      return true
    }
    let reads = 0
    const tokenNow = () => {
      reads += 1
      if (reads === 1) throw new ConfigError('--kubeconfig-file', 'must be YAML')
      return inline('second')
    }
    const { store } = open({ token: inline('first'), tokenNow })
    await snapshotWhere(store, ids(2))
    const tokens = api.requests.slice(0, 4).map(({ token }) => token)
    assert.deepEqual(tokens, ['first', 'first', 'first', 'second'])
  })

  it('names the rule that is missing', async () => {
    api.fault = (_request, response) => {
      sendJson(response, 403, { message: 'nodes is forbidden: User "u" cannot list resource "nodes"' })
      return true
    }
    const { error } = await health(open().store, ({ error }) => error !== undefined)
    assert.match(error ?? '', /cannot list.*\{"apiGroups":\[""\],"resources":\["nodes"\],"verbs":\["list"\]\}/)
  })

  it('waits for the own Node and its podCIDR, and says so; then writes once', async () => {
    api.delete('n1')
    const waits: (LeaseWait | undefined)[] = []
    const { store } = open()
    const acquiring = store.acquire(want, { ...hints, waiting: (wait) => void waits.push(wait) }, over.signal)
    await until(5_000, 'it waits for the Node', async () => assert.match(waits.at(-1)?.text ?? '', /no Node n1/))
    api.put({ metadata: { name: 'n1' } })
    await until(5_000, 'it waits for a podCIDR', async () =>
      assert.match(waits.at(-1)?.remedy ?? '', /--allocate-node-cidrs/),
    )
    api.put(bareNode(1, '10.9.1.0/24'))
    await until(5_000, 'both are named', async () => {
      assert.match(waits.at(-1)?.text ?? '', /10\.9\.1\.0\/24 of Node n1 .*Network 10\.5\.0\.0\/16 of net-conf\.json/)
      assert.match(waits.at(-1)?.remedy ?? '', /ConfigMap/)
    })
    api.put(bareNode(1))
    const own = await acquiring
    assert.deepEqual([own.lease.id, own.lease.families.get(4)?.subnet, own.expiresAt], ['n1', '10.5.1.0/24', undefined])
    const patches = () => api.requests.filter(({ method }) => method === 'PATCH').length
    assert.equal(patches(), 1)
    await store.publish(own, want, { network }, over.signal)
    assert.equal(patches(), 1)
  })

  it('writes its annotations when the server takes them again', async () => {
    const { store } = open()
    let refused = 0
    api.fault = (request, response) => {
      if (request.method !== 'PATCH' || refused === 2) return false
      refused += 1
      sendJson(response, 500, { message: 'etcdserver: request timed out' })
      return true
    }
    await store.acquire(want, hints, over.signal)
    assert.equal(refused, 2)
    await health(store, ({ up }) => up)
  })

  it('learns from its pod which Node it is', async () => {
    api.fault = (request, response) => {
      if (request.url !== '/api/v1/namespaces/kube-flannel/pods/flannel-x') return false
      sendJson(response, 200, { spec: { nodeName: 'n1' } })
      return true
    }
    const pod = { nodeName: '', podName: 'flannel-x', podNamespace: 'kube-flannel' }
    const own = await open({ node: pod }).store.acquire(want, hints, over.signal)
    assert.equal(own.lease.id, 'n1')
  })

  it('answers who writes its annotations again and again once a second, and no faster', async () => {
    const { store } = open()
    const own = await store.acquire(want, hints, over.signal)
    const began = systemClock.now()
    for (let times = 0; times < 2; times += 1) {
      api.put(bareNode(1))
      await until(5_000, 'it is seen', async () => assert.equal(store.entry('n1')?.lease, undefined))
      await store.publish(own, want, { network }, over.signal)
    }
    assert.ok(systemClock.now() - began >= 1_900)
  })

  it('does not tell of heartbeats', async () => {
    const { store } = open()
    await store.acquire(want, hints, over.signal)
    let told = 0
    const count = async () => {
      for await (const _ of store.watch(over.signal)) told += 1
    }
    count().catch(() => {})
    await until(5_000, 'it watches', async () => assert.ok(told > 0))
    const before = told
    for (let beat = 0; beat < 50; beat += 1) {
      for (const name of ['n1', 'n2']) api.put({ ...(api.node(name) ?? bareNode(1)), status: { beat } })
    }
    api.put(flannelNode(4))
    await snapshotWhere(store, ids(4))
    assert.ok(told - before <= 2, `told ${told - before} times`)
  })
})

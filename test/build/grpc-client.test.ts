import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { clientPart } from '../../scripts/bundle/grpc-client.ts'

// Not ours to depend on, so it is looked up from etcd3.
const path = createRequire(createRequire(import.meta.url).resolve('etcd3')).resolve('@grpc/grpc-js')
const index = readFileSync(path, 'utf8')

describe("grpc-js's index in the bundle", () => {
  it('loads what a client needs and nothing of a server', () => {
    const loaded = [...clientPart(index, path).matchAll(/require\("\.\/([^"]+)"\)/g)].map(([, name]) => name)
    assert.deepEqual([...new Set(loaded)].sort(), [
      'admin',
      'call-credentials',
      'channel',
      'channel-credentials',
      'channelz',
      'client',
      'client-interceptors',
      'compression-algorithms',
      'connectivity-state',
      'constants',
      'load-balancer-pick-first',
      'logging',
      'make-client',
      'metadata',
      'resolver-dns',
      'resolver-ip',
      'resolver-uds',
    ])
  })

  for (const [what, from, to] of [
    ['no longer loads a module', 'require("./orca")', 'require("./metrics")'],
    ['uses one within a longer statement', /^exports\.load = load;$/m, 'exports.load = (\n  server_1.Server\n);'],
  ] as const) {
    it(`is refused when it ${what}`, () => {
      const changed = index.replace(from, to)
      assert.notEqual(changed, index)
      assert.throws(() => clientPart(changed, path), /adapt grpc-client\.ts/)
    })
  }
})

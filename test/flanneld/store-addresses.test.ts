import assert from 'node:assert/strict'
import { storeAddresses } from '../../flanneld/options/node-options.ts'

describe('addresses of the store', () => {
  const cases: readonly [string, readonly string[]][] = [
    ['http://192.0.2.10:2379', ['192.0.2.10']],
    ['192.0.2.10:2379', ['192.0.2.10']],
    ['https://[2001:db8::1]:2379', ['2001:db8::1']],
    ['https://etcd.example:2379', []],
    ['http://192.0.2.10', ['192.0.2.10']],
    ['not an endpoint', []],
  ]
  for (const [endpoint, expected] of cases) {
    it(`${endpoint}: ${expected.join() || 'none'}`, () =>
      assert.deepEqual(storeAddresses({ etcdEndpoints: [endpoint] }), expected))
  }
})

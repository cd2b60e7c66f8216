import assert from 'node:assert/strict'
import { readState } from '../../subnet/etcd/range-reads.ts'
import { describeAnyLeaseStore } from '../conformance/any-lease-store.ts'
import { describeLeaseFamilies } from '../conformance/lease-families.ts'
import { anyWorld, describeLeaseStore, type LeaseWorld } from '../conformance/lease-store.ts'
import { EtcdServer } from './etcd-server.ts'
import { forEachVersion } from './versions.ts'
import { access, Daemons, folder } from './world.ts'

forEachVersion((name, program) => {
  let server: EtcdServer
  // None where this version is not there: the hook behind the tests runs all the same.
  const started: EtcdServer[] = []

  before(async function () {
    this.timeout(60_000)
    server = await EtcdServer.start({ program: program() })
    started.push(server)
  })
  after(async () => {
    for (const one of started) await one.close()
  })

  it(`reads the state of a range from ${name}: its count, and the newest change since a revision`, async () => {
    await server.ctl(['del', '--prefix', ''])
    const daemons = new Daemons()
    try {
      for (const id of ['a', 'c', 'b', 'a']) await server.ctl(['put', `${folder}${id}`, id])
      const client = daemons.client(access([server.url]))
      const range = { key: Buffer.from(folder), end: Buffer.from(`${folder}z`) }
      const { count, revision, newest } = await readState(client, range, undefined, daemons.signal)
      assert.deepEqual({ count, newest }, { count: 3, newest: 0n })
      const since = await readState(client, range, revision - 3n, daemons.signal)
      assert.deepEqual({ count: since.count, newest: since.newest }, { count: 3, newest: revision })
      assert.equal((await readState(client, range, revision, daemons.signal)).newest, 0n)
    } finally {
      await daemons.close()
    }
  })

  const open = async (): Promise<LeaseWorld> => {
    await server.ctl(['del', '--prefix', ''])
    const daemons = new Daemons()
    const put = async (id: string, value: string, { reserved }: { reserved: boolean }) => {
      const lease = reserved ? undefined : (await server.ctl(['lease', 'grant', '3600'])).split(' ')[1]
      await server.ctl(['put', ...(lease === undefined ? [] : ['--lease', lease]), '--', `${folder}${id}`, value])
    }
    return {
      store: () => daemons.store(daemons.client(access([server.url])), { claimMs: 1000 }),
      put,
      delete: async (id) => void (await server.ctl(['del', `${folder}${id}`])),
      value: async (id) => (await server.get(`${folder}${id}`)) || undefined,
      expires: async (id) => {
        const [entry] = JSON.parse(await server.ctl(['get', '-w', 'json', `${folder}${id}`])).kvs ?? []
        return entry?.lease !== undefined
      },
      close: () => daemons.close(),
    }
  }
  describeLeaseStore(name, open)
  describeLeaseFamilies(name, open)
  describeAnyLeaseStore(name, async () => anyWorld(await open()))
})

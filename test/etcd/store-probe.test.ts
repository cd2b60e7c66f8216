import assert from 'node:assert/strict'
import { Secret } from '../../lib/log.ts'
import { probeStore } from '../../subnet/etcd/store-probe.ts'
import { needs } from '../needs.ts'
import { EtcdServer } from './etcd-server.ts'
import { forEachVersion } from './versions.ts'
import { access, Daemons, folder, prefix } from './world.ts'

describe('store probe', function () {
  needs(this, 'etcd')
  this.timeout(60_000)

  forEachVersion((_, program) => {
    let server: EtcdServer
    let daemons: Daemons

    beforeEach(async () => {
      daemons = new Daemons()
      server = await EtcdServer.create({ program: program() })
      await server.start()
    })

    afterEach(async () => {
      await daemons.close()
      await server.close()
    })

    const probe = (username = '', password = '') => {
      const client = daemons.client(access([server.url], { username, password: new Secret(password) }))
      return probeStore(client, prefix, daemons.signal)
    }

    it('reads the configuration and leaves the store as it was', async () => {
      assert.deepEqual(await probe(), { config: undefined, writeFault: undefined })
      await server.put(`${prefix}/config`, '{}')
      const revision = await server.ctl(['get', folder, '--prefix', '-w', 'json'])
      assert.deepEqual(await probe(), { config: '{}', writeFault: undefined })
      const after = await server.ctl(['get', folder, '--prefix', '-w', 'json'])
      const told = (text: string) => /"revision":(\d+)/.exec(text)?.[1]
      assert.equal(told(after), told(revision))
      assert.doesNotMatch(after, /"kvs"/)
    })

    it('knows without writing who may not write, and who may not read', async () => {
      await server.put(`${prefix}/config`, '{}')
      for (const argv of [
        ['user', 'add', 'root:x'],
        ['role', 'add', 'root'],
        ['user', 'grant-role', 'root', 'root'],
        ['user', 'add', 'reader:x'],
        ['role', 'add', 'readers'],
        ['role', 'grant-permission', 'readers', 'read', prefix, '--prefix=true'],
        ['user', 'grant-role', 'reader', 'readers'],
        ['user', 'add', 'nobody:x'],
        ['auth', 'enable'],
      ])
        await server.ctl(argv)
      assert.deepEqual(await probe('root', 'x'), { config: '{}', writeFault: undefined })
      const { config, writeFault } = await probe('reader', 'x')
      assert.equal(config, '{}')
      assert.match(writeFault ?? '', /permission denied/)
      await assert.rejects(probe('nobody', 'x'), /permission denied/)
      await assert.rejects(probe('root', 'wrong'), /authentication failed/)
      assert.equal((await server.ctl(['get', folder, '--prefix'], 'root:x')).trim(), '')
    })
  })
})

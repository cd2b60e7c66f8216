import assert from 'node:assert/strict'
import { copyFileSync, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { delegateOf } from '../../flanneld/cni/conflist.ts'
import { daemonCommand } from '../../lab/daemon.ts'
import { Lab } from '../../lab/lab.ts'
import { cniPlugins, needs, peerProgram } from '../needs.ts'
import { CniHost, flannelsConflist } from './cni-world.ts'
import { daemonProgram, flanneld, logsInFailure, oneSegment, ready, startOver, status, until, vxlan } from './world.ts'

/** It looks every 5 s. */
const lookMs = 30_000

describe('CNI beside flannel', function () {
  needs(this, 'netns', 'etcd', 'cni', 'peer:flannel-cni', 'peer:flanneld')
  this.timeout(240_000)
  let lab: Lab
  let cni: CniHost

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(1), netConf: vxlan })
    cni = await CniHost.open(lab.host('h1'))
    copyFileSync(peerProgram('peer:flannel-cni'), join(cni.binDir, 'flannel'))
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
    await cni.close()
    await startOver(lab, vxlan)
    await cni.inside(
      `for d in cni0 other0; do ip link del $d 2>/dev/null || true; done; rm -rf /var/lib/cni/* ${cni.confDir}`,
    )
  })

  after(async () => {
    await cni?.close()
    await lab?.close()
  })

  const withMetaPlugin = () =>
    cni.inside(`mkdir -p ${cni.confDir} && cat >${cni.confFile} <<'END'\n${flannelsConflist(cni.host)}\nEND`)
  const ways = [[], ['--ip-masq']] as const

  for (const more of ways) {
    it(`tells bridge what flannel’s meta-plugin tells it for the same lease ${more.join(' ')}`, async () => {
      await cni.start({ args: [...cni.args, ...more] })
      await ready(cni.host)
      const own = JSON.parse(delegateOf(readFileSync(cni.confFile, 'utf8')))
      await cni.host.daemon?.stop()
      await withMetaPlugin()
      await cni.add('a')
      const flannels = JSON.parse(await cni.inside('cat /var/lib/cni/flannel/a'))
      assert.deepEqual(own, flannels)
      await cni.del('a')
    })
  }

  it('leaves no address reserved on the way from the meta-plugin to the own conflist and back, with daemons of both', async () => {
    const startFlannel = async () => {
      await cni.start({ program: peerProgram('peer:flanneld'), dialect: 'flannel', args: [] })
      await cni.host.subnetEnv()
    }
    await startFlannel()
    await withMetaPlugin()
    const { addresses } = await cni.add('flannels')
    assert.deepEqual([await cni.reserved(), await cni.scratch()], [addresses, ['flannels']])

    await cni.host.daemon?.stop()
    await cni.start()
    await ready(cni.host)
    await until(lookMs, 'the own conflist', async () => assert.equal(cni.conflist().plugins[0].type, 'bridge'))
    const own = await cni.add('own')
    assert.equal((await own.container.ping(addresses[0] ?? '', { count: 1 })).received, 1)
    await cni.del('flannels')
    assert.deepEqual(await cni.reserved(), own.addresses)
    await until(lookMs, 'the way back', async () => assert.ok((await cni.scratch()).includes('own')))
    // A container that is made right before the end has its way back as well.
    const last = await cni.add('last')

    assert.deepEqual(await cni.host.daemon?.stop(), { code: 0, signal: null })
    await startFlannel()
    await withMetaPlugin()
    const again = await cni.add('again')
    assert.equal((await again.container.ping(own.addresses[0] ?? '', { count: 1 })).received, 1)
    assert.equal((await again.container.ping(last.addresses[0] ?? '', { count: 1 })).received, 1)
    for (const id of ['own', 'last', 'again']) await cni.del(id)
    assert.deepEqual(await cni.reserved(), [])
    // Of the one that was deleted by the own conflist.
    assert.deepEqual(await cni.scratch(), ['flannels'])

    await cni.host.daemon?.stop()
    await cni.inside("touch -d '5 minutes ago' /var/lib/cni/flannel/flannels")
    await cni.start()
    await until(lookMs, 'nothing is left', async () => assert.deepEqual(await cni.scratch(), []))
  })

  it('mends an empty file of the meta-plugin’s, over which it stumbles at every deletion', async () => {
    await cni.start()
    await ready(cni.host)
    await cni.add('kept')
    await cni.inside(
      'mkdir -p /var/lib/cni/flannel && cd /var/lib/cni/flannel && : >kept && : >gone && touch -d "5 minutes ago" gone',
    )
    await cni.inside(
      'echo \'{"name":"other","type":"bridge"}\' >/var/lib/cni/flannel/others && touch -d "5 minutes ago" /var/lib/cni/flannel/others',
    )
    await until(lookMs, 'mended', async () => {
      assert.match(await cni.inside('cat /var/lib/cni/flannel/kept'), /"host-local"/)
      assert.deepEqual(await cni.scratch(), ['kept', 'others'])
    })
    await cni.host.daemon?.stop()
    await withMetaPlugin()
    await cni.del('kept')
    assert.deepEqual(await cni.reserved(), [])
  })

  it('gives containers addresses after a reboot before the daemon is there, which the meta-plugin cannot', async () => {
    await cni.start()
    await ready(cni.host)
    await cni.host.daemon?.stop()
    await cni.inside(`rm ${cni.host.paths.subnetFile}; ip link del flannel.1`)
    assert.equal((await cni.add('early')).addresses.length, 1)
    await cni.del('early')
    await withMetaPlugin()
    await assert.rejects(cni.add('early'), /subnet\.env: no such file or directory/)
  })

  it('writes no conflist before there is a lease and a device', async () => {
    await cni.host.ipBatch(['link add flannel.1 type veth peer name other0'])
    await cni.start()
    await until(10_000, 'a lease', async () => assert.ok((await status(cni.host)).lease))
    await until(10_000, 'it waits for the device', async () =>
      assert.match((await status(cni.host)).notReady.join('\n'), /10-flannel\.conflist: waits for link flannel\.1/),
    )
    assert.equal(existsSync(cni.confFile), false)
    await cni.host.ip('link', 'del', 'flannel.1')
    await ready(cni.host)
    assert.equal(existsSync(cni.confFile), true)
  })

  it('is removed by cleanup: conflist, bridge, store and copies of plugins, but nothing that is in use or another’s', async () => {
    const from = `${cni.host.folder}/image`
    await cni.inside(`mkdir -p ${from} && cp ${cni.binDir}/portmap ${from}/ && rm ${cni.binDir}/portmap`)
    await cni.start({ args: [...cni.args, `--cni-plugins-from=${from}`] })
    await ready(cni.host)
    await until(lookMs, 'the plugin', async () => assert.ok(existsSync(join(cni.binDir, 'portmap'))))
    await cni.add('stays')
    await cni.host.daemon?.stop()
    const first = await cni.cleanup([])
    assert.equal(first.code, 0, first.stderr)
    assert.equal(existsSync(cni.confFile), false)
    assert.deepEqual((await cni.reserved()).length, 1)
    assert.match(await cni.inside('ip link show cni0'), /cni0/)

    await cni.start({ args: [...cni.args, `--cni-plugins-from=${from}`] })
    await ready(cni.host)
    await cni.del('stays')
    await until(lookMs, 'restored again', async () => assert.ok(existsSync(join(cni.binDir, 'portmap'))))
    await cni.host.daemon?.stop()
    const { stdout } = await cni.cleanup([])
    for (const line of [
      `rm -f ${cni.confFile}`,
      'ip link delete cni0',
      `rm -f ${cni.binDir}/portmap`,
      'rm -rf /var/lib/cni/networks/cbr0',
    ])
      assert.ok(stdout.split('\n').includes(line), `${line} in\n${stdout}`)
    assert.equal(existsSync(join(cni.binDir, 'bridge')), true)
    await assert.rejects(cni.inside('ip link show cni0'))
    assert.equal(await cni.inside('find /var/lib/cni -type f'), '')
    copyFileSync(join(from, 'portmap'), join(cni.binDir, 'portmap'))

    await withMetaPlugin()
    await cni.cleanup()
    assert.equal(readFileSync(cni.confFile, 'utf8').includes('"flannel"'), true)
  })

  it('lets copies of plugins follow an image that is updated, and no others', async () => {
    const from = `${cni.host.folder}/image`
    await cni.inside(
      `mkdir -p ${from} && cp ${cni.binDir}/portmap ${cni.binDir}/bridge ${from}/ && rm ${cni.binDir}/portmap`,
    )
    const args = [...cni.args, `--cni-plugins-from=${from}`]
    const same = (name: string) => cni.inside(`cmp ${from}/${name} ${cni.binDir}/${name}`)
    await cni.start({ args })
    await until(lookMs, 'restored', () => same('portmap'))
    await cni.host.daemon?.stop()
    // As in images that are built reproducibly: the same size and the same time.
    for (const name of ['portmap', 'bridge'])
      await cni.inside(
        `cd ${from} && cp -p ${name} was && printf X | dd of=${name} bs=1 seek=1000 conv=notrunc 2>/dev/null && touch -r was ${name} && rm was`,
      )
    await cni.start({ args })
    await until(lookMs, 'updated', () => same('portmap'))
    await assert.rejects(same('bridge'))
    copyFileSync(join(cniPlugins, 'portmap'), join(cni.binDir, 'portmap'))
  })

  it('gives two daemons of a host two networks', async () => {
    await lab.etcd.put('/other/config', JSON.stringify({ Network: '10.77.0.0/16', Backend: { Type: 'vxlan', VNI: 7 } }))
    await cni.start()
    await ready(cni.host)
    const confFile = join(cni.confDir, '20-blue.conflist')
    const paths = { ...cni.host.paths, subnetFile: `${cni.host.paths.subnetFile}.2`, statusSocket: '' }
    const args = [
      '--etcd-prefix=/other',
      `--cni-conf-file=${confFile}`,
      '--cni-network=blue',
      `--cni-bin-dir=${cni.binDir}`,
    ]
    const command = await daemonCommand({ program: daemonProgram, args }, paths, 'http://192.0.2.10:2379')
    const second = await cni.host.start(command, { log: `${paths.log}.2` })
    await until(20_000, 'the second conflist', async () => assert.ok(existsSync(confFile)))
    const { container } = await cni.add('one')
    const blue = await cni.add('two', confFile)
    assert.match(blue.addresses[0] ?? '', /^10\.77\./)
    assert.equal((await container.ping(blue.addresses[0] ?? '', { count: 1 })).received, 1)
    await cni.del('two', confFile)
    await cni.del('one')
    assert.deepEqual([await cni.reserved(), await cni.reserved('blue')], [[], []])
    second.kill('SIGTERM')
    await second.waitExit()
    await flanneld(cni.host, ['cleanup'], { args: [...args, `--subnet-file=${paths.subnetFile}`] })
  })

  it('refuses what can never work, and plan names the file', async () => {
    for (const [word, code, text] of [
      ['--cni-conf-file=/etc/cni/net.d/10-flannel.conf', 2, /must end in \.conflist/],
      [`--cni-plugins-from=${cni.binDir}`, 78, /--cni-plugins-from: must be another directory than --cni-bin-dir/],
    ] as const) {
      const program = await cni.start({ args: [...cni.args, word] })
      assert.equal((await program.waitExit()).code, code)
      assert.match(await program.logText(), text)
    }
    const env = { FLANNELD_CNI_CONF_FILE: 'relative.conf' }
    const program = await cni.start({ args: [], env })
    assert.equal((await program.waitExit()).code, 78)
    await cni.start()
    await ready(cni.host)
    const { stdout } = await flanneld(cni.host, ['plan'], { args: [`--cni-conf-file=${cni.host.folder}/new.conflist`] })
    assert.match(stdout, /^install -D -m 0600 \/dev\/stdin .*\/new\.conflist <<'END'$/m)
  })
})

import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import { echo, HeldConnection } from './held-connections.ts'
import { bringUp, flanneld, knowsPeers, logsInFailure, oneSegment, status, until } from './world.ts'

const config = (Backend: object) => ({ Network: '10.5.0.0/16', Backend })
const [VXLAN, HOST_GW] = [{ Type: 'vxlan' }, { Type: 'host-gw' }]
const masq = { args: ['--ip-masq', '--healthz-port=7009', '--healthz-ip=127.0.0.1'] }
const [PORT, NODE_PORT] = [5003, 30080]
const ELSEWHERE = '198.51.100.1'

describe('connections that a change of the backend ends', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(120_000)
  let lab: Lab
  let h1: Host
  let h2: Host

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(2), netConf: config(VXLAN) })
    ;[h1, h2] = [lab.host('h1'), lab.host('h2')]
    await bringUp(lab.hosts, masq)
    for (const host of lab.hosts) await knowsPeers(host, 1)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => lab?.close())

  it('are counted before it and while it waits; they end, and no others', async () => {
    const there = h2.container('c1')
    await echo(lab, there, there.address, PORT)
    await h1.exec([
      'sh',
      '-c',
      `
      nft add table ip test
      nft 'add chain ip test in { type nat hook prerouting priority -110; }'
      nft 'add chain ip test out { type nat hook postrouting priority 90; }'
      nft 'add rule ip test in tcp dport ${NODE_PORT} dnat to ${there.address}:${PORT}'
      nft 'add rule ip test out ip saddr ${ELSEWHERE} snat to ${h1.address}'
      ip address add ${ELSEWHERE}/32 dev lo`,
    ])
    const to = { address: there.address, port: PORT }
    const ending = {
      'of a client outside, by a NodePort': await HeldConnection.open(lab, lab.controlPlane, {
        address: h1.address,
        port: NODE_PORT,
      }),
      'of the host': await HeldConnection.open(lab, h1, { ...to, from: h1.address }),
    }
    const staying = {
      'of a container': await HeldConnection.open(lab, h1.container('c1'), to),
      'with a source of another rule': await HeldConnection.open(lab, h1, { ...to, from: ELSEWHERE }),
    }
    const count = Object.keys(ending).length
    const file = `${h1.paths.stateDir}/new.json`
    await h1.exec(['sh', '-c', `printf %s '${JSON.stringify(config(HOST_GW))}' > ${file}`])
    const plan = await flanneld(h1, ['plan', '--config', file], masq)
    assert.match(plan.stdout, new RegExp(`^# may interrupt: masqueraded connections .*: ${count} now$`, 'm'))
    assert.equal((await status(h1)).endingConnections, null)

    // It waits for a restart.
    await lab.configure(config({ ...VXLAN, Port: 4789 }))
    await until(10_000, 'they are counted', async () =>
      assert.deepEqual((await status(h1)).endingConnections, { count, unknown: '' }),
    )
    await lab.configure(config(VXLAN))
    await until(10_000, 'nothing waits', async () => assert.equal((await status(h1)).endingConnections, null))

    const drop =
      'add table ip hold; add chain ip hold in { type filter hook input priority 0; }; add rule ip hold in udp dport 8473 drop'
    await h2.exec(['nft', drop])
    await lab.configure(config(HOST_GW))
    await until(20_000, 'they are counted', async () =>
      assert.deepEqual((await status(h1)).endingConnections, { count, unknown: '' }),
    )
    const text = (await flanneld(h1, ['status'])).stdout
    assert.match(
      text,
      new RegExp(`^ends +${count} masqueraded connections to peers that have not moved, when they do$`, 'm'),
    )
    const metrics = await h1.exec(['curl', '-s', 'http://127.0.0.1:7009/metrics'])
    assert.match(metrics.stdout, new RegExp(`^flannel_backend_change_masqueraded_connections ${count}$`, 'm'))
    for (const connection of Object.values({ ...ending, ...staying })) await connection.answers()

    await h2.exec(['nft', 'delete table ip hold'])
    await until(30_000, 'the change is over', async () => {
      assert.equal((await status(h1)).backendChange, null)
      const [route] = await h1.ipJson('route', 'get', there.address)
      assert.equal(route?.['dev'], 'eth0')
    })
    assert.equal((await status(h1)).endingConnections, null)
    for (const [name, connection] of Object.entries(ending))
      await until(15_000, `ends: ${name}`, async () => assert.equal(await connection.broken(), 'ECONNRESET'))
    for (const connection of Object.values(staying)) await connection.answers()
  })
})

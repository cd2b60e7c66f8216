import assert from 'node:assert/strict'
import { execPath } from 'node:process'
import { setTimeout as pause } from 'node:timers/promises'
import type { Container } from '../../lab/container.ts'
import { Lab } from '../../lab/lab.ts'
import type { Cidr, IpAddr } from '../../lib/address.ts'
import { needs } from '../needs.ts'
import { until } from '../until.ts'
import { answered, carries, UdpHost } from './udp-host.ts'
import { transfer } from './udp-transfer.ts'

const subnets = ['10.5.1.0/24', '10.5.2.0/24', '10.5.3.0/24'] as Cidr[]

describe('udp engine between hosts', function () {
  needs(this, 'netns')
  this.timeout(180_000)
  let lab: Lab
  let hosts: UdpHost[]
  let containers: Container[]

  before(async () => {
    lab = await Lab.create({
      segments: [
        { name: 'lan1', subnet: '192.168.64.0/24', hosts: ['h1', 'h2'] },
        { name: 'lan2', subnet: '192.168.65.0/24', hosts: ['h3'] },
      ],
      etcd: false,
    })
    hosts = await Promise.all(
      lab.hosts.map(async (host, own) => await UdpHost.start(host, subnetOf(own), peersOf(own))),
    )
    containers = await Promise.all(hosts.map(async ({ host }) => await host.addContainer('c')))
  })
  after(async () => await lab?.close())

  const subnetOf = (index: number) => subnets[index] as Cidr
  const peersOf = (own: number) =>
    lab.hosts.map((host, index) => ({ subnet: subnetOf(index), publicIp: host.address })).filter((_p, n) => n !== own)
  const host = (index: number) => hosts[index] as UdpHost
  const container = (index: number) => containers[index] as Container
  it('carries small and full-size packets between all pairs', async () => {
    for (const from of containers) {
      for (const to of containers.filter((one) => one !== from)) {
        await carries(from, to)
        await carries(from, to, { size: 1472 - 28, df: true })
      }
    }
    assert.equal(await answered(container(0), container(1), { size: 1473 - 28, df: true, wait: 100 }), 0)
    // Fragments are packets as any.
    await carries(container(0), container(2), { size: 20_000 })
  })

  it('carries TCP without changing a byte, several connections at once', async () => {
    const before = await host(0).counters()
    await Promise.all([
      transfer(container(0), container(1), lab.folder, 30_000_001),
      transfer(container(0), container(1), lab.folder, 3_000_001),
      transfer(container(1), container(0), lab.folder, 10_000_001),
      transfer(container(0), container(2), lab.folder, 5_000_001),
    ])
    const after = await host(0).counters()
    const packets = after.packetsOut - before.packetsOut
    assert.ok(packets > 25_000)
    // Trains, not packets, go through the system calls.
    assert.ok(after.callsSend - before.callsSend < packets / 4, `${after.callsSend - before.callsSend} of ${packets}`)
  })

  it('takes one off the TTL at each end', async () => {
    const { stdout } = await container(0).exec(['ping', '-n', '-c', '1', container(1).address])
    // From 64: out of the container's host, into the other one's proxy and through both hosts.
    assert.match(stdout, /ttl=60/)
    const outcome = await container(0).exec(['ping', '-n', '-c', '1', '-W', '0.3', '-t', '2', container(1).address], {
      anyCode: true,
    })
    assert.doesNotMatch(outcome.stdout, /exceeded|ttl=/)
  })

  it('counts what comes from strangers and with foreign sources, and carries none of it', async () => {
    const before = await host(1).counters()
    const send = `
      const { createSocket } = require('node:dgram'), socket = createSocket('udp4')
      const packet = Buffer.from(process.argv[2], 'hex')
      socket.send(packet, 8285, process.argv[1], () => socket.close())`
    const fromContainer1 = '4500001c0001400040010000' + '0a050102' + '0a050202' + '0800f7ff00000000'
    // The router is no peer; h3 is one, but has not this subnet.
    await lab.router.exec([execPath, '-e', send, host(1).host.address, fromContainer1])
    await host(2).host.exec([execPath, '-e', send, host(1).host.address, fromContainer1])
    await host(2).host.exec([execPath, '-e', send, host(1).host.address, '450000ff'])
    await until(5_000, 'all three are counted', async () => {
      const after = await host(1).counters()
      assert.equal(after.dropStranger - before.dropStranger, 1)
      assert.equal(after.dropInnerSource - before.dropInnerSource, 1)
      assert.equal(after.dropMalformed - before.dropMalformed, 1)
    })
    assert.equal((await host(1).counters()).packetsIn - before.packetsIn, 0)
  })

  it('answers packets to unknown subnets', async () => {
    const heard = async () => {
      const { stdout } = await container(0).exec(['cat', '/proc/net/snmp'])
      const [names, numbers] = stdout.split('\n').filter((line) => line.startsWith('Icmp: ')) as [string, string]
      return Number(numbers.split(' ')[names.split(' ').indexOf('InDestUnreachs')])
    }
    const send =
      "const socket = require('node:dgram').createSocket('udp4'); socket.send('x', 9, '10.5.77.7', () => socket.close())"
    const [before, heardBefore] = [await host(0).counters(), await heard()]
    await container(0).exec([execPath, '-e', send])
    await until(5_000, 'it is counted and heard', async () => {
      const after = await host(0).counters()
      assert.equal(after.dropNoPeer - before.dropNoPeer, 1)
      assert.equal(after.unreachableSent - before.unreachableSent, 1)
      assert.equal((await heard()) - heardBefore, 1)
    })
  })

  it('still carries packets when the path has become narrower than the device says', async () => {
    const { address } = host(0).host
    const route = [
      'route',
      'replace',
      '192.168.64.0/24',
      'dev',
      'eth0',
      'proto',
      'kernel',
      'scope',
      'link',
      'src',
      address,
    ]
    await host(0).host.ip(...route, 'mtu', '1300')
    try {
      await carries(container(0), container(1), { size: 1472 - 28 })
      await transfer(container(0), container(1), lab.folder, 2_000_001)
      assert.ok((await host(0).counters()).unsegmented > 0)
    } finally {
      await host(0).host.ip(...route)
    }
  })

  it('goes over to a new table without losing a packet', async () => {
    const judge = container(0).startPing(container(1).address, 5)
    for (let turn = 0; turn < 20; turn += 1) {
      const strangers = Array.from({ length: 500 }, (_unused, n) => ({
        subnet: `10.6.${n >>> 8}.${n & 255}/32` as Cidr,
        publicIp: `172.16.${n >>> 8}.${n & 255}` as IpAddr,
      }))
      await host(0).replace(turn % 2 === 0 ? [...peersOf(0), ...strangers] : peersOf(0))
      await pause(20)
    }
    const { lost, sent } = await judge.stop()
    assert.ok(sent > 20)
    assert.equal(lost, 0)
    // The thread that carries takes a table when its turn comes.
    await host(0).replace([])
    try {
      await until(5_000, 'no peer', async () =>
        assert.equal(await answered(container(0), container(1), { wait: 200 }), 0),
      )
    } finally {
      await host(0).replace(peersOf(0))
    }
    await carries(container(0), container(1))
  })

  it('has a new worker within a second when one dies under load, and carries on', async () => {
    const { program } = host(0)
    const stream = transfer(container(0), container(1), lab.folder, 300_000_001)
    for (let round = 1; round <= 3; round += 1) {
      await pause(300)
      const logged = (await program.logText()).length
      program.kill('SIGUSR1')
      await host(0).waitFor(/"at":"failed"/, logged)
      await until(1_000, 'a new worker', async () =>
        assert.match((await program.logText()).slice(logged), /"at":"running"/),
      )
      assert.match(await program.logText(), new RegExp(`"deaths":${round}\\b`))
    }
    // The device stayed, and all that was on it; TCP sends again what was lost.
    await stream
    await carries(container(0), container(1))
  })

  it('makes the device anew when it was deleted', async () => {
    const logged = (await host(0).program.logText()).length
    await host(0).host.ip('link', 'del', 'flannel0')
    // From here: the deletion itself waits for the kernel, longer on a busy machine.
    await until(3_000, 'it is there', async () =>
      assert.match((await host(0).program.logText()).slice(logged), /"at":"running"/),
    )
    await host(0).configure()
    await carries(container(0), container(1))
  })

  it('leaves the device and its routes when it stops, so that nothing goes in clear', async () => {
    const { program } = host(2)
    program.kill('SIGTERM')
    const exit = await program.waitExit()
    assert.deepEqual(exit, { code: 0, signal: null })
    const [route] = await host(2).host.ipJson('route', 'get', container(0).address)
    assert.equal(route.dev, 'flannel0')
    const again = await UdpHost.start(host(2).host, host(2).subnet, peersOf(2))
    hosts[2] = again
    await carries(container(0), container(2))
    again.program.kill('SIGKILL')
    await again.program.waitExit()
    const [stays] = await host(2).host.ipJson('route', 'get', container(0).address)
    assert.equal(stays.dev, 'flannel0')
  })

  it('says what holds the device or the port', async () => {
    const { host: one } = host(0)
    const logged = (await host(0).program.logText()).length
    await assert.rejects(UdpHost.start(one, subnetOf(0), []), /EBUSY/)
    assert.ok(logged > 0)
  })
})

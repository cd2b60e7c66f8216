import assert from 'node:assert/strict'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execPath } from 'node:process'
import { daemonCommand } from '../../lab/daemon.ts'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import type { Program } from '../../lab/program.ts'
import { needs } from '../needs.ts'
import {
  daemonProgram,
  flanneld,
  leaseOf,
  logsInFailure,
  oneSegment,
  ready,
  startDaemon,
  startOver,
  status,
  until,
  vxlan,
} from './world.ts'

const withVni = (vni: number, port: number, directRouting = false) => ({
  ...vxlan,
  Backend: { Type: 'vxlan', VNI: vni, Port: port, DirectRouting: directRouting },
})
const direct = { ...vxlan, Backend: { Type: 'vxlan', DirectRouting: true } }
/** Between two tries, and a little more. */
const retriedMs = 32_000

/** What is wrong on one host ends nothing there but what needs it. The daemon's small disk is in a mount namespace of its own. */
describe('a local failure', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(120_000)
  let lab: Lab
  let host: Host
  let other: Host
  let second: Program | undefined

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(3), netConf: direct })
    host = lab.host('h1')
    other = lab.host('h2')
  })
  afterEach(async function () {
    second?.kill('SIGKILL')
    await logsInFailure(this.currentTest?.err, lab)
  })
  after(async () => {
    await lab?.close()
  })

  const reaches = async (from: Host, to: Host) => {
    const { sent, received } = await from.container('c1').ping(to.container('c1').address)
    assert.equal(received, sent, `${from.label} reaches ${to.label}`)
  }
  const codes = async (): Promise<readonly string[]> =>
    (await status(host)).conditions
      .filter(({ severity }: { severity: string }) => severity !== 'info')
      .map(({ code }: { code: string }) => code.replace(/ .*\//, ' '))
      .sort()
  const strict = async (on: Host) => (await on.exec(['sysctl', '-n', 'net.ipv4.conf.eth0.rp_filter'])).stdout.trim()

  it('of every disk and port at the first start is a condition each; the node works, and all is made good later', async () => {
    const place = join(host.folder, 'small')
    const program = join(lab.folder, 'with-a-full-disk')
    const log = `${place}/log`
    const script = [
      `mkdir -p ${place}`,
      `mount -t tmpfs -o size=4k,mode=0755 tmpfs ${place}`,
      `head -c 4096 /dev/zero > ${place}/fill`,
      `exec ${daemonProgram} "$@" 2>${log}`,
    ].join(' && ')
    writeFileSync(program, `#!/bin/sh\nexec unshare --mount sh -c '${script}' flanneld "$@"\n`)
    chmodSync(program, 0o755)
    const inside = (command: string) =>
      host.exec(['nsenter', '--mount', `--target=${host.daemon?.pid}`, '--', 'sh', '-ec', command])
    await host.exec(['sysctl', '-qw', 'net.ipv4.conf.eth0.rp_filter=1'])
    const blocker = await host.start([execPath, '-e', 'require("net").createServer().listen(10299, "127.0.0.1")'], {
      log: '/dev/null',
    })
    const start = async () =>
      await startDaemon(host, {
        program,
        args: [`--state-dir=${place}/state`, '--healthz-ip=127.0.0.1', '--healthz-port=10299'],
      })
    await start()
    await startDaemon(other)
    for (const each of [host, other]) await each.addContainer('c1')

    await until(10_000, 'reached both ways', async () => {
      await reaches(host, other)
      await reaches(other, host)
    })
    await ready(host)
    await until(10_000, 'all is told', async () =>
      assert.deepEqual(await codes(), [
        'health-port',
        'write-failed claim.json',
        'write-failed footprint.json',
        'write-failed node-id',
        'write-failed own-subnet.json',
        'write-failed snapshot.json',
        'write-failed sysctls.json',
        'write-failed ways.json',
      ]),
    )
    const { conditions, nodeId } = await status(host)
    const told = conditions.find(({ code }: { code: string }) => code.endsWith('/node-id'))
    assert.match(told.text, /ENOSPC/)
    assert.match(told.remedy, /df -h/)
    assert.equal(await strict(host), '1')

    // Nobody is asked whether he lives: it is the same node, as long as the host runs.
    const lease = await leaseOf(lab, host)
    host.daemon?.kill('SIGKILL')
    await host.daemon?.waitExit()
    await start()
    await until(10_000, 'it has its lease again', async () => {
      const again = await status(host)
      assert.deepEqual([again.nodeId, again.ready], [nodeId, true])
      assert.equal((await leaseOf(lab, host)).key, lease.key)
    })
    await reaches(other, host)

    blocker.kill('SIGTERM')
    await inside(`rm ${place}/fill; mount -o remount,size=1m ${place}`)
    await until(retriedMs, 'all is made good', async () => {
      assert.deepEqual(await codes(), [])
      assert.equal(await strict(host), '2')
    })
    assert.equal((await inside(`cat ${place}/state/*/node-id`)).stdout.trim(), nodeId)
    assert.equal(JSON.parse((await leaseOf(lab, host)).value).NodeID, nodeId)
    assert.equal((await inside('curl -s http://127.0.0.1:10299/healthz')).stdout, 'flanneld is running')
    await reaches(other, host)
    await host.daemon?.stop()
    assert.deepEqual(host.daemon?.exit, { code: 0, signal: null })
  })

  const cases: readonly [name: string, port: number][] = [
    ['flannel.1', 8472],
    // Its second name, since another port was taken up.
    ['flannel-1', 8471],
  ]
  for (const [index, [name, port]] of cases.entries()) {
    it(`of memory it is not: ${name}, which was given up, is another’s, whoever runs first and however the last one ended`, async () => {
      const one = lab.hosts[index + 1] as Host
      const { subnetFile, stateDir } = one.paths
      const devices = async () => {
        const links = await one.ipJson('link', 'show', 'type', 'vxlan')
        return links.map(({ ifname, ifindex }) => `${ifname} ${ifindex}`)
      }
      // A peer that is away would be waited for, and the name is needed that long.
      await startOver(lab, direct)
      await one.exec(['sysctl', '-qw', 'net.ipv4.conf.eth0.rp_filter=1'])
      await startDaemon(one)
      await ready(one)
      await lab.configure(withVni(1, port, true))
      await until(20_000, 'that is its only device', async () => {
        const [only = '', ...more] = await devices()
        assert.deepEqual([only.split(' ')[0], more], [name, []])
      })
      await until(5_000, 'direct paths are let in', async () => assert.equal(await strict(one), '2'))
      one.daemon?.kill('SIGKILL')
      await one.daemon?.waitExit()
      // As soon as the first one uses another VNI, the second one takes the name: before the first one has removed its own device.
      await lab.configure(withVni(2, 8472))
      await lab.configure({ ...withVni(1, port), Network: '10.77.0.0/16' }, '/other')
      const paths = { ...one.paths, subnetFile: `${subnetFile}.2`, stateDir: `${stateDir}.2`, statusSocket: '' }
      const args = ['--etcd-prefix=/other']
      const command = await daemonCommand({ program: daemonProgram, args }, paths, 'http://192.0.2.10:2379')
      second = await one.start(command, { log: `${one.paths.log}.2` })
      await until(10_000, 'the second one runs', async () => readFileSync(paths.subnetFile))
      const before = await devices()
      assert.equal(before.length, 1)

      await startDaemon(one)
      await ready(one)
      const remembered = async (file: string) => (await one.exec(['sh', '-c', `cat ${stateDir}/*/${file}`])).stdout
      await until(15_000, 'the name and the setting are given up', async () => {
        assert.doesNotMatch(await remembered('footprint.json'), new RegExp(`${name}"`.replace('.', '\\.')))
        assert.equal(await remembered('sysctls.json'), '{}\n')
      })
      assert.equal(await strict(one), '1')
      assert.match((await flanneld(one, ['plan'])).stdout, /^# nothing to change$/m)
      await one.daemon?.stop()
      assert.equal((await flanneld(one, ['cleanup'])).code, 0)
      assert.deepEqual(await devices(), before)
      assert.equal(second.running, true)
    })
  }
})

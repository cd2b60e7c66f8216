import assert from 'node:assert/strict'
import { execPath } from 'node:process'
import { type DaemonOptions, daemonCommand } from '../../lab/daemon.ts'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs, peerProgram } from '../needs.ts'
import {
  assertSame,
  daemonProgram,
  flanneld,
  logsInFailure,
  networkOf,
  oneSegment,
  ready,
  startDaemon,
  strangerLease,
  until,
  vxlanFrom100,
} from './world.ts'

interface Line {
  readonly check: string
  readonly level: string
  readonly text: string
  readonly remedy: string
}

describe('check', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab
  let host: Host

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(1), netConf: vxlanFrom100, etcd: ['--enable-v2'] })
    host = lab.host('h1')
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
    await host.exec(['nft', 'flush', 'ruleset'])
  })

  after(() => lab?.close())

  /** Docker's options are the machine's, not the lab's: they have tests of their own. */
  const check = async (options: DaemonOptions = {}) => {
    const { code, stdout, stderr } = await flanneld(host, ['check', '-o', 'json'], options)
    const document = JSON.parse(stdout)
    assert.deepEqual([document.apiVersion, stderr], ['flannel.check/v1', ''])
    const lines: readonly Line[] = document.checks
    const wrong = lines.filter(({ level, check }) => level !== 'ok' && !check.startsWith('docker'))
    return { code, wrong: wrong.map(({ check, level, text, remedy }) => `${level} ${check}: ${text} -> ${remedy}`) }
  }
  const finds = async (pattern: RegExp, options: DaemonOptions = {}) => {
    const { code, wrong } = await check(options)
    assert.equal(wrong.length, 1, wrong.join('\n'))
    assert.match(wrong[0] ?? '', pattern)
    assert.equal(code, wrong[0]?.startsWith('fail') ? 2 : 1)
  }

  it('finds nothing on a good host, before a start and beside the daemon, and changes nothing', async () => {
    const before = await networkOf(host)
    const { code, stdout } = await flanneld(host, ['check'])
    assert.match(stdout, /^ok {4}etcd +answers: 192\.0\.2\.10:2379 \(3\.\d+\.\d+\)$/m)
    assert.match(stdout, /^ok {4}mtu +vxlan leaves containers 1450 of 1500 bytes$/m)
    assert.equal(code, 0, stdout)
    assertSame(await networkOf(host), before)
    await host.exec(['test', '!', '-e', host.paths.stateDir])
    await host.exec(['iptables', '-P', 'FORWARD', 'DROP'])
    assert.deepEqual((await check()).wrong, [])
    await startDaemon(host, { args: ['--healthz-port=8090'] })
    await ready(host)
    assert.deepEqual((await check({ args: ['--healthz-port=8090'] })).wrong, [])
    await host.daemon?.stop()
    await flanneld(host, ['cleanup'])
    await host.exec(['iptables', '-P', 'FORWARD', 'ACCEPT'])
  })

  it('finds the closed port of the tunnel, and a rule that drops what is forwarded', async () => {
    await host.exec(['iptables', '-A', 'INPUT', '-p', 'udp', '--dport', '8472', '-j', 'DROP'])
    await finds(
      /^fail firewall: .*rule 1 of iptables-nft INPUT .*8472.* -> iptables-nft -I INPUT -p udp --dport 8472 -j ACCEPT/,
    )
    await host.exec(['iptables', '-F', 'INPUT'])
    await host.exec(['iptables', '-I', 'FORWARD', '-j', 'DROP'])
    await finds(/^warn firewall: .*rule 1 of iptables-nft FORWARD drops overlay traffic/)
  })

  it('finds who has a port', async () => {
    const script = 'require("node:dgram").createSocket("udp4").bind(8472); setInterval(() => {}, 1e6)'
    const holder = await host.start([execPath, '-e', script], { log: '/dev/null' })
    try {
      await host.exec(['sh', '-c', 'until ss -uln | grep -q :8472; do sleep 0.02; done'])
      await finds(new RegExp(`^fail ports: 8472/udp is in use by node \\(pid ${holder.pid}\\) -> stop it`))
    } finally {
      await holder.stop()
    }
  })

  it('finds a strict filter only where a peer is reached by another interface', async () => {
    const strict = 'sysctl -qw net.ipv4.conf.eth0.rp_filter='
    await host.exec(['sh', '-c', `${strict}1`])
    assert.deepEqual((await check()).wrong, [])
    await lab.etcd.put(...strangerLease(1))
    await host.exec([
      'sh',
      '-c',
      'ip link add away type veth peer name other && ip link set other up && ip link set away up && ip addr add 172.30.0.1/24 dev away && ip route add 192.168.64.101 dev away',
    ])
    await finds(
      /^warn rp-filter: .*net\.ipv4\.conf\.eth0\.rp_filter=1.*192\.168\.64\.101.* -> sysctl -w net\.ipv4\.conf\.eth0\.rp_filter=2/,
    )
    await host.exec(['sh', '-c', `ip link del away; ${strict}0`])
  })

  it('finds what is wrong with etcd and with the configuration in it', async () => {
    await finds(/^fail etcd: .*192\.0\.2\.10:2390.*ECONNREFUSED.* -> start etcd, or give --etcd-endpoints/, {
      etcdEndpoints: 'http://192.0.2.10:2390',
    })
    await finds(/^fail configuration: there is none at \/old\/config -> ETCDCTL_API=3 etcdctl put \/old\/config/, {
      args: ['--etcd-prefix=/old'],
    })
    const put = `fetch("${lab.etcd.url}/v2/keys/old/config", { method: "PUT", body: new URLSearchParams({ value: '{"Network":"10.9.0.0/16"}' }) })`
    await host.exec([execPath, '-e', put])
    await finds(
      /^fail configuration: \/old\/config was written by version 2 .* -> ETCDCTL_API=3 etcdctl put \/old\/config '\{"Network":"10\.9\.0\.0\/16"\}'/,
      {
        args: ['--etcd-prefix=/old'],
      },
    )
    await lab.configure({ Network: '10.5.0.0/16', Backend: { Type: 'vxlan', VNI: -1 } })
    await finds(/^fail plan: .*VNI.* -> correct this value/)
    await lab.configure(vxlanFrom100)
  })

  it('finds variables of an older package, and an option that is not there yet', async () => {
    await finds(
      /^warn variables: FLANNEL_ETCD_PREFIX in the environment is read by nobody.* -> write FLANNELD_ETCD_PREFIX="\/atomic\.io\/network"/,
      {
        env: { FLANNEL_ETCD_PREFIX: '/atomic.io/network', FLANNEL_ETCD_ENDPOINTS: 'http://192.0.2.10:2379' },
      },
    )
    await finds(/^fail options: --allow-extension: not available yet/, { args: ['--allow-extension'] })
  })

  it("finds a clock that is not etcd's", async () => {
    const script =
      'require("node:http").createServer((_, answer) => answer.setHeader("Date", new Date(Date.now() + 300e3).toUTCString()).end("{}")).listen(2391, "127.0.0.1")'
    const server = await host.start([execPath, '-e', script], { log: '/dev/null' })
    try {
      await host.exec(['sh', '-c', 'until ss -tln | grep -q :2391; do sleep 0.02; done'])
      await finds(/^warn clock: this host's clock is (299|300|301) s behind the one of etcd at 127\.0\.0\.1:2391/, {
        etcdEndpoints: 'http://192.0.2.10:2379,http://127.0.0.1:2391',
      })
    } finally {
      await server.stop()
    }
  })

  describe("beside flannel's own daemon", function () {
    needs(this, 'peer:flanneld')
    // Leases of the tests before may be named as well.
    const named = async (options?: DaemonOptions) =>
      (await check(options)).wrong.filter((line) => line.includes('subnet-file'))

    it('finds that both write one subnet file', async () => {
      const flannels = await startDaemon(host, { program: peerProgram('peer:flanneld') })
      await until(10_000, 'it has written', () => host.exec(['test', '-s', host.paths.subnetFile]))
      const subnetFile = host.paths.subnetFile.replaceAll('.', '\\.')
      await finds(
        new RegExp(
          `^warn subnet-file: flannel's own daemon runs \\(.*flanneld, pid ${flannels.pid}\\) and writes ${subnetFile}: .* -> stop it`,
        ),
      )
      assert.deepEqual(await named({ args: [`--subnet-file=${host.folder}/other/subnet.env`] }), [])
      await flannels.stop()
      assert.deepEqual(await named(), [])
    })
  })

  it('finds a lack of permission', async () => {
    const argv = await daemonCommand({ program: daemonProgram }, host.paths, lab.etcd.url)
    const without = ['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin']
    const { code, stdout } = await host.exec([...without, ...argv, 'check'], { anyCode: true })
    assert.match(stdout, /^fail {2}permission +CAP_NET_ADMIN is missing.*\n +-> run it as root/m)
    assert.equal(code, 2)
  })

  it('says at the start of the daemon what is read by nobody, and goes on', async () => {
    const daemon = await startDaemon(host, { env: { FLANNEL_ETCD_PREFIX: '/atomic.io/network' } })
    await ready(host)
    assert.match(await daemon.logText(), /FLANNEL_ETCD_PREFIX in the environment is read by nobody.*check="?variables/)
    await daemon.stop()
  })
})

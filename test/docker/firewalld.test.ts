import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import type { Program } from '../../lab/program.ts'
import { answer, outside, seenAs, unseenBy } from '../e2e/rules.ts'
import { bringUp, knowsPeers, logsInFailure, oneSegment, status, until, vxlan } from '../e2e/world.ts'
import { needs } from '../needs.ts'

const busConfig = (socket: string) => `<busconfig>
  <type>system</type>
  <listen>unix:path=${socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
`

/** Debian's firewalld with a bus and a configuration of its own, which vanish with it. */
class Firewalld {
  readonly #host: Host
  readonly #program: Program
  readonly #env: Record<string, string>

  private constructor(host: Host, program: Program, env: Record<string, string>) {
    this.#host = host
    this.#program = program
    this.#env = env
  }

  static async start(host: Host): Promise<Firewalld> {
    const folder = join(host.folder, 'fw')
    await mkdir(folder)
    const socket = join(folder, 'bus')
    await writeFile(join(folder, 'bus.conf'), busConfig(socket))
    const env = { DBUS_SYSTEM_BUS_ADDRESS: `unix:path=${socket}` }
    const log = join(host.folder, 'firewalld.log')
    await host.start(['dbus-daemon', `--config-file=${folder}/bus.conf`, '--nofork', '--nopidfile'], { log })
    await until(20_000, 'the bus', async () => await host.exec(['test', '-S', socket]))
    const script = 'mount -t tmpfs none /etc/firewalld && mkdir /etc/firewalld/zones && exec firewalld --nofork --nopid'
    const program = await host.start(['unshare', '--mount', '--propagation', 'private', 'sh', '-ec', script], {
      log,
      env,
    })
    const firewalld = new Firewalld(host, program, env)
    await until(30_000, 'firewalld', async () => await firewalld.run('firewall-cmd --state'))
    return firewalld
  }

  /** A line for a shell. */
  async run(line: string): Promise<void> {
    if (!this.#program.running) throw new Error(`firewalld ended: ${(await this.#program.logText()).slice(-2_000)}`)
    await this.#host.exec(['sh', '-ec', line], { env: this.#env, timeout: 30_000 })
  }
}

for (const tool of ['iptables', 'nftables'] as const) {
  describe(`firewalld and our rules in ${tool}`, function () {
    needs(this, 'netns', 'etcd', 'firewalld')
    this.timeout(240_000)
    let lab: Lab
    let h1: Host
    let h2: Host
    let firewalld: Firewalld

    before(async () => {
      lab = await Lab.create({ segments: oneSegment(2), netConf: { ...vxlan, EnableNFTables: tool === 'nftables' } })
      h1 = lab.host('h1')
      h2 = lab.host('h2')
      await bringUp(lab.hosts, { args: ['--ip-masq'] })
      for (const host of lab.hosts) await knowsPeers(host, 1)
      await Promise.all([h1.container('c1'), h2.container('c1'), lab.controlPlane].map((place) => answer(place)))
      firewalld = await Firewalld.start(h1)
      // The tunnel itself is the host's own traffic.
      await firewalld.run('firewall-cmd --permanent --add-port=8472/udp && firewall-cmd --reload')
    })

    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, lab)
    })

    after(() => lab?.close())

    const own = () => h1.container('c1').address
    const named = async (): Promise<string> =>
      (await status(h1)).conditions
        .map(({ text }: { text: string }) => text)
        .filter((text: string) => text.includes('clear-path'))
        .join('\n')

    it('is named when it drops overlay traffic, with the command that opens it', async () => {
      assert.equal(await unseenBy(h1.container('c1'), h2.container('c1').address), true)
      let condition = ''
      await until(3_000, 'named', async () => {
        condition = await named()
        assert.match(condition, /chain inet firewalld \S+ drops what no rule before accepts/)
      })
      const command = /open it with: (firewall-cmd .*--reload)/.exec(condition)?.[1] ?? ''
      await firewalld.run(command)
      await until(3_000, 'no longer named', async () => assert.equal(await named(), ''))
      assert.equal(await seenAs(h1.container('c1'), h2.container('c1').address), own())
      assert.equal(await seenAs(h2.container('c1'), own()), h2.container('c1').address)
      assert.equal(await seenAs(h1.container('c1'), outside), h1.address)
    })

    it('and again when it is closed again', async () => {
      await firewalld.run(
        'firewall-cmd --permanent --zone=trusted --remove-source=10.5.0.0/16 && firewall-cmd --reload',
      )
      await until(3_000, 'named', async () => assert.match(await named(), /chain inet firewalld/))
    })
  })
}

import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import { bringUp, flanneld, knowsPeers, logsInFailure, networkOf, oneSegment, vxlan } from './world.ts'

const masq = { args: ['--ip-masq'] }

describe('flanneld plan --config', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(90_000)
  let lab: Lab
  let h1: Host
  let h2: Host

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(2), netConf: vxlan })
    ;[h1, h2] = [lab.host('h1'), lab.host('h2')]
    await bringUp([h1, h2], masq)
    for (const host of [h1, h2]) await knowsPeers(host, 1)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => lab?.close())

  const plan = async (document: object | string, ...words: readonly string[]) => {
    const text = typeof document === 'string' ? document : JSON.stringify(document)
    const file = `${h1.paths.stateDir}/new.json`
    await h1.exec(['sh', '-c', `printf %s '${text}' > ${file}`])
    return await flanneld(h1, ['plan', '--config', file, ...words], masq)
  }

  it('prints what would change, in order, and what of it could interrupt traffic; and changes nothing', async () => {
    const before = await networkOf(h1)
    // From an address outside of the network, so it is masqueraded.
    await h1.exec(['ping', '-c', '1', '-W', '5', '-I', h1.address, h2.container('c1').address])
    const { code, stdout } = await plan({ ...vxlan, Backend: { Type: 'host-gw' } })
    assert.equal(code, 0, stdout)
    const lines = stdout.split('\n')
    assert.ok(lines.includes('# changes Backend.Type vxlan -> host-gw'), stdout)
    const live = lines.indexOf('# goes into use while the daemon runs')
    assert.deepEqual(lines.slice(live + 1, live + 6), [
      '# 1. host-gw is set up beside vxlan',
      '# 2. the lease accepts host-gw, too',
      '# 3. probes by host-gw go to each peer whose lease accepts it',
      '# 4. the route to each peer whose probes are answered moves, by one replacement',
      '# 5. vxlan goes when no lease needs it any more',
    ])
    assert.match(stdout, /^# peer 10\.5\.\d+\.0-24 moves when its lease accepts the new way$/m)
    assert.doesNotMatch(stdout, /^ip route del/m)
    assert.match(stdout, /^# may interrupt: masqueraded connections to the subnet whose route .*: [1-9]\d* now$/m)
    assert.match(stdout, /^# the address of the device that goes stays on lo as long as a socket of this host has it$/m)
    assert.match(stdout, /^ip address add 10\.5\.\d+\.0\/32 dev lo scope host$/m)
    assert.doesNotMatch(stdout, /^# may interrupt: the device/m)
    const at = (pattern: RegExp) => lines.findIndex((line) => pattern.test(line))
    const file = at(/^FLANNEL_MTU=1500/)
    const gone = at(/^ip link delete (dev )?flannel\.1/)
    assert.ok(file > 0 && gone > file, stdout)
    const document = JSON.parse((await plan({ ...vxlan, Backend: { Type: 'host-gw' } }, '-o', 'json')).stdout)
    assert.equal(document.apiVersion, 'flannel.plan/v1')
    assert.deepEqual(document.change.differences[0], 'Backend.Type vxlan -> host-gw')
    const connections = document.change.interruptions.find(
      ({ code: each }: { code: string }) => each === 'masqueraded-connections',
    )
    assert.ok(connections.count > 0)
    assert.deepEqual(await networkOf(h1), before)
  })

  const planned: readonly (readonly [says: string, document: object | string, code: number, text: RegExp])[] = [
    ['the same one', vxlan, 0, /^# the configuration is the one that the daemons have\n# nothing to change\n$/],
    [
      'one that goes into use at once',
      { ...vxlan, Backend: { Type: 'vxlan', MTU: 1400 } },
      0,
      /# changes Backend\.MTU 0 -> 1400\n# goes into use while the daemon runs\n# may interrupt: the MTU goes from 1450 to 1350: .*\nip link/,
    ],
    [
      'a second device of the same backend',
      { ...vxlan, Backend: { Type: 'vxlan', VNI: 7 } },
      0,
      /^# goes into use while the daemon runs\n# 1\. the device flannel\.7 is made beside the present way\n/m,
    ],
    [
      'another port alone',
      { ...vxlan, Backend: { Type: 'vxlan', Port: 4789 } },
      0,
      /^# goes into use while the daemon runs\n# 1\. the device flannel-1 is made beside the present way\n/m,
    ],
    [
      'direct paths',
      { ...vxlan, Backend: { Type: 'vxlan', DirectRouting: true } },
      0,
      /^# peer 10\.5\.\d+\.0-24 moves when its lease accepts the new way\n(# .*\n)+# 1\. the new way is set up beside the present way\n(# .*\n)+# may interrupt: masqueraded connections to the subnet whose .*: [1-9]\d* now\n/,
    ],
    [
      'a larger network',
      { ...vxlan, Network: '10.4.0.0/15' },
      0,
      /# changes Network 10\.5\.0\.0\/16 -> 10\.4\.0\.0\/15\n/,
    ],
    [
      'a network without the own subnet',
      { ...vxlan, Network: '10.6.0.0/16' },
      78,
      /^# refused: Network: 10\.5\.\d+\.0\/24, the subnet of this node, does not lie in 10\.6\.0\.0\/16; to be renumbered besides: 10\.5\.\d+\.0-24; .*\n# a running daemon stays as it is\n$/m,
    ],
    [
      'GBP alone',
      { ...vxlan, Backend: { Type: 'vxlan', GBP: true } },
      78,
      /^# refused: Backend\.GBP: true on port 8472, .*; change Backend\.Port with it; /m,
    ],
    [
      'one that cannot be used',
      { ...vxlan, Backend: { Type: 'vxlan', VNI: 0 } },
      78,
      /Backend\.VNI: must be an integer from 1 to 16777215, got 0/,
    ],
    ['half of one', '{"Network":', 78, /new\.json: must be a JSON document/],
  ]
  for (const [says, document, code, text] of planned) {
    it(`ends with ${code} for ${says}`, async () => {
      const done = await plan(document)
      assert.equal(done.code, code, done.stdout + done.stderr)
      assert.match(done.stdout + done.stderr, text)
    })
  }
})

import assert from 'node:assert/strict'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { systemClock } from '../../lib/clock.ts'
import { needs } from '../needs.ts'
import {
  flanneld,
  knowsPeers,
  logsInFailure,
  oneSegment,
  ready,
  startDaemon,
  status,
  steady,
  strangerLease,
  until,
  vxlan,
} from './world.ts'

describe('ingress guard on a host where something is missing', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab
  let host: Host
  let bin: string

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(1), netConf: { ...vxlan, SubnetMin: '10.5.100.0' } })
    host = lab.host('h1')
    bin = join(lab.folder, 'bin')
    await mkdir(bin)
    // What the daemon's own script needs is there; of rules, nothing.
    for (const name of ['node', 'nsenter', 'sh', 'env', 'dirname', 'readlink']) {
      await host.exec(['sh', '-c', `ln -s "$(command -v ${name})" ${bin}/${name}`], { anyCode: true })
    }
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
    await host.daemon?.stop()
  })

  after(() => lab?.close())

  const start = async (word: string) =>
    await startDaemon(host, { args: [`--ingress-guard=${word}`, '--iptables-forward-rules=false'], env: { PATH: bin } })

  it('count without nft: ready, peers are fine, and the status says what is missing', async () => {
    await lab.etcd.put(...strangerLease(7))
    await start('count')
    await ready(host)
    await knowsPeers(host, 1)
    const { conditions, state } = await status(host)
    const [missing] = conditions.filter(({ code }: { code: string }) => code.startsWith('advisory guard-sets'))
    assert.match(missing.text, /nft is not installed/)
    assert.match(missing.remedy, /install the package nftables/)
    assert.equal(state, 'ok')
  })

  it('on without nft: not ready; with it: ready within seconds', async () => {
    await start('on')
    await until(5_000, 'not ready for this reason', async () => {
      assert.match((await status(host)).notReady.join(), /guard-sets .*nft is not installed/)
    })
    await host.exec(['sh', '-c', `ln -s "$(command -v nft)" ${bin}/nft`])
    await ready(host, 20_000)
    await knowsPeers(host, 1)
    const { stdout } = await host.exec(['nft', 'list', 'ruleset'])
    assert.match(stdout, /192\.168\.64\.107 \. 0xa050780/)
  })

  it('starts no program while peers come and go', async () => {
    const calls = join(lab.folder, 'calls')
    await host.exec([
      'sh',
      '-c',
      `rm ${bin}/nft; printf '#!/bin/sh\necho "$@" >> ${calls}\nexec %s "$@"\n' "$(command -v nft)" > ${bin}/nft`,
    ])
    await host.exec(['sh', '-c', `chmod +x ${bin}/nft && : > ${calls}`])
    await start('on')
    await ready(host)
    await knowsPeers(host, 1)
    // Behind the last reading back of what was written.
    await steady(2_000, () => readFile(calls, 'utf8'))
    await host.exec(['sh', '-c', `: > ${calls}`])
    for (let n = 20; n < 40; n += 1) await lab.etcd.put(...strangerLease(n))
    await knowsPeers(host, 21)
    // Not so many that they would be held.
    for (let n = 20; n < 22; n += 1) await lab.etcd.del(`/coreos.com/network/subnets/10.5.${n}.0-24`)
    await until(10_000, 'gone', async () => assert.equal((await status(host)).peers.length, 19))
    await systemClock.sleep(5_000, AbortSignal.timeout(30_000))
    assert.equal(await readFile(calls, 'utf8'), '')
  })

  it('a table of our name that somebody else made is left alone and named', async () => {
    await start('off')
    await ready(host)
    await host.daemon?.stop()
    const { stdout } = await flanneld(host, ['plan', '--ingress-guard=count'])
    const table = /flanneld-guard\S*/.exec(stdout)?.[0] ?? ''
    await host.exec(['nft', `table inet ${table} { set mine { type ipv4_addr; }; }`])
    try {
      await start('on')
      await until(5_000, 'named', async () => {
        assert.match((await status(host)).notReady.join(), /guard-sets .*in the way, not made by this program/)
      })
      assert.match((await host.exec(['nft', 'list', 'ruleset'])).stdout, /set mine/)
    } finally {
      await host.exec(['nft', 'delete', 'table', 'inet', table])
    }
    await ready(host, 20_000)
  })
})

import assert from 'node:assert/strict'
import type { ProbeRoute } from '../../kernel/kinds/probe-route/kind.ts'
import type { ProbeRule } from '../../kernel/kinds/probe-rule/kind.ts'
import type { IpAddr } from '../../lib/address.ts'
import * as the from '../kernel/fixtures.ts'
import { outcomes, ownNamespace, tableOf } from './own-namespace.ts'

const families = [
  { ip: 'ip', from: '10.64.1.0', to: '10.64.2.0', subnet: '10.64.2.0/24', all: '10.64.0.0/16' },
  { ip: 'ip -6', from: 'fc00:0:0:1::', to: 'fc00:0:0:2::', subnet: 'fc00:0:0:2::/64', all: 'fc00::/48' },
] as const

describe('the rules by which probes go', function () {
  const namespace = ownNamespace(this)
  const rules = () => tableOf<ProbeRule>(namespace.kernel, 'probe-rule')
  const routes = () => tableOf<ProbeRoute>(namespace.kernel, 'probe-route')

  before(() => {
    // Another path than the probes', by which everything else goes.
    for (const line of ['link add tunnel type veth peer name far-end', 'link set tunnel up', 'link set far-end up'])
      namespace.run(`ip ${line}`)
    for (const { ip, from, all } of families) {
      namespace.run(`ip addr add ${from}/${ip === 'ip' ? 32 : 128} dev tunnel`)
      namespace.run(`${ip} route add ${all} dev tunnel`)
    }
  })

  /** The device that the kernel would send by, or its refusal. */
  function deviceFor({ ip, from, to }: (typeof families)[number], port: number): string {
    try {
      const shown = namespace.run(`${ip} route get ${to} from ${from} ipproto udp sport ${port} dport 8473`)
      return /\bdev (\S+)/.exec(shown)?.[1] ?? shown
    } catch (cause) {
      return /unreachable/i.test(String(cause)) ? 'unreachable' : String(cause)
    }
  }

  it('reach a gateway to which the way in use leads over another device', async () => {
    for (const { ip, to, subnet } of families) {
      // As when packets go directly, and a tunnel is tried.
      namespace.run(`${ip} route add ${subnet} dev tunnel`)
      const route = the.probeRoute(subnet, { device: 'uplink', via: to as IpAddr, onLink: true })
      const before = namespace.run(`${ip} route show`)
      assert.deepEqual(await outcomes(routes(), { verb: 'create', object: route }), ['ok'])
      assert.deepEqual(await outcomes(routes(), { verb: 'update', actual: route, object: route }), ['ok'])
      assert.deepEqual(await routes().dump([]), [route])
      assert.equal(namespace.run(`${ip} route show`), before)
      assert.deepEqual(await outcomes(routes(), { verb: 'remove', object: route }), ['ok'])
      namespace.run(`${ip} route del ${subnet} dev tunnel`)
    }
  })

  for (const family of families) {
    it(`never send a probe by the main table (${family.ip})`, async () => {
      const wanted = [the.probeRule(family.from, 'unreachable'), the.probeRule(family.from)]
      const before = namespace.run(`${family.ip} rule show`)
      assert.deepEqual(await outcomes(rules(), ...wanted.map((object) => ({ verb: 'create' as const, object }))), [
        'ok',
        'ok',
      ])
      const byAction = (a: ProbeRule, b: ProbeRule) => b.action.localeCompare(a.action)
      assert.deepEqual([...(await rules().dump([]))].sort(byAction), wanted)
      assert.equal(deviceFor(family, 8474), 'unreachable')
      assert.equal(deviceFor(family, 8477), 'tunnel')
      const route = the.probeRoute(family.subnet, { device: 'uplink' })
      assert.deepEqual(await outcomes(routes(), { verb: 'create', object: route }), ['ok'])
      assert.equal(deviceFor(family, 8474), 'uplink')
      assert.equal(deviceFor(family, 8477), 'tunnel')
      const gone = [
        await outcomes(routes(), { verb: 'remove', object: route }),
        await outcomes(rules(), ...wanted.map((object) => ({ verb: 'remove' as const, actual: object, object }))),
      ]
      assert.deepEqual(gone.flat(), ['ok', 'ok', 'ok'])
      assert.equal(namespace.run(`${family.ip} rule show`), before)
    })
  }
})

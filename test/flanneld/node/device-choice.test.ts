import assert from 'node:assert/strict'
import type { HostDevice } from '../../../backends/backend.ts'
import { parseConfiguration } from '../../../flanneld/node/configuration.ts'
import { DeviceChoice } from '../../../flanneld/node/device-choice.ts'
import * as the from '../../kernel/fixtures.ts'

const parsed = (backend: object) =>
  parseConfiguration(
    JSON.stringify({ Network: '10.5.0.0/16', EnableIPv6: true, IPv6Network: 'fc00::/48', Backend: backend }),
    'test',
  )
const vxlan = (Port: number) => parsed({ Type: 'vxlan', Port })
const udp = (Port: number, Engine = 'kernel') => parsed({ Type: 'udp', Port, Engine })
const ipip = parsed({ Type: 'ipip' })
const [first, second, third, fourth] = [vxlan(8472), vxlan(4789), vxlan(4790), vxlan(4791)]

type Links = readonly ReturnType<typeof the.vxlan>[]
const standing = (...links: Links) => ({
  devices: new Map(links.map(({ name, driver }): [string, HostDevice] => [name, { driver }])),
  others: new Set<string>(),
})
/** Not on record as made by this instance. */
const ofOthers = (...links: Links) => ({ ...standing(...links), others: new Set(links.map(({ name }) => name)) })
const onPort = (name: string, port: number) => the.vxlan(name, {}, { port })

describe('the devices of ways', () => {
  /** Names of the IPv4 device of each. */
  const choose = (ways: readonly ReturnType<typeof parsed>[], stands = standing(), choice = new DeviceChoice()) => {
    choice.choose(ways, stands)
    return ways.map((way) => choice.of(way)?.names.get(4))
  }

  it("have flannel's names where no other way has them, and names of the same length where one does", () => {
    assert.deepEqual(choose([second]), ['flannel.1'])
    assert.deepEqual(choose([first, second, third]), ['flannel.1', 'flannel-1', 'flannel_1'])
    const choice = new DeviceChoice()
    choose([first, second], standing(), choice)
    assert.equal(choice.of(second)?.names.get(6), 'flannel-v6-1')
  })

  it('are the same for two ways of which one sends directly as well', () => {
    const direct = parsed({ Type: 'vxlan', DirectRouting: true })
    assert.deepEqual(choose([first, direct, second]), ['flannel.1', 'flannel.1', 'flannel-1'])
    const choice = new DeviceChoice()
    choose([second, first], standing(), choice)
    assert.deepEqual(choose([direct, first], standing(), choice), ['flannel-1', 'flannel-1'])
    assert.deepEqual(choose([direct], standing(), choice), ['flannel-1'])
  })

  it('are none for a fourth', () => {
    assert.deepEqual(choose([first, second, third, fourth]).at(-1), undefined)
  })

  it('stay as long as their way is wanted, and free their names when it is not', () => {
    const choice = new DeviceChoice()
    choose([first, second], standing(), choice)
    assert.deepEqual(choose([second], standing(), choice), ['flannel-1'])
    assert.deepEqual(choose([second, third], standing(), choice), ['flannel-1', 'flannel.1'])
    assert.deepEqual(choose([third], standing(), choice), ['flannel.1'])
    assert.deepEqual(choose([third, second], standing(), choice), ['flannel.1', 'flannel-1'])
  })

  it('are those that stand, whichever way comes first', () => {
    const one = standing(onPort('flannel-1', 4789))
    assert.deepEqual(choose([second], one), ['flannel-1'])
    assert.deepEqual(choose([first, second], one), ['flannel.1', 'flannel-1'])
    const two = standing(onPort('flannel.1', 4789), onPort('flannel-1', 8472))
    assert.deepEqual(choose([first, second], two), ['flannel-1', 'flannel.1'])
    assert.deepEqual(choose([first, second], standing(onPort('flannel.1', 4789))), ['flannel-1', 'flannel.1'])
  })

  it('are not those of the way whose place is taken, which are still there', () => {
    const choice = new DeviceChoice()
    choose([udp(8285, 'userspace')], standing(), choice)
    const one = standing(the.tun('flannel0'))
    assert.deepEqual(choose([udp(8285)], one, choice), ['flannel1'])
    assert.deepEqual(choose([udp(8285, 'userspace')], one, choice), ['flannel0'])
    // After a restart.
    assert.deepEqual(choose([udp(8285)], standing(the.tun('flannel1'))), ['flannel1'])
  })

  it('are made anew in their place where what stands belongs to no way', () => {
    assert.deepEqual(choose([second], standing(onPort('flannel.1', 8472))), ['flannel.1'])
  })

  it('never take a second name under which another program’s device stands', () => {
    const others = ofOthers(onPort('flannel-1', 9999), the.tun('flannel1'), the.ipip('flannel-ipip'))
    assert.deepEqual(choose([first, second], others), ['flannel.1', 'flannel_1'])
    assert.deepEqual(choose([udp(8285, 'userspace'), udp(9000, 'userspace')], others), ['flannel0', 'flannel2'])
    assert.deepEqual(choose([udp(8285, 'userspace')], others), ['flannel0'])
    assert.deepEqual(choose([ipip], others), ['flannel.ipip'])
    assert.deepEqual(choose([udp(8285), ipip], others), ['flannel0', undefined])
    const bridge = { devices: new Map(), others: new Set(['flannel-1']) }
    assert.deepEqual(choose([first, second], bridge), ['flannel.1', 'flannel_1'])
    assert.deepEqual(choose([first, second], ofOthers(onPort('flannel-v6-1', 9999))), ['flannel.1', 'flannel_1'])
  })

  it("are flannel's by its first name, and one that stands with the VNI and the port, without a record, too", () => {
    assert.deepEqual(choose([second], ofOthers(onPort('flannel.1', 8472))), ['flannel.1'])
    assert.deepEqual(choose([second], ofOthers(onPort('flannel-1', 4789))), ['flannel-1'])
  })

  it('of IP in IP are at most two, of which one is bound to the uplink', () => {
    const choice = new DeviceChoice()
    assert.deepEqual(choose([ipip, udp(8285)], standing(), choice), ['flannel.ipip', 'flannel1'])
    assert.equal(choice.of(udp(8285))?.ipInIp, 'by the uplink')
    assert.deepEqual(choose([udp(8285), udp(9000)]), ['flannel0', 'flannel1'])
    assert.deepEqual(choose([udp(8285), ipip]), ['flannel0', 'flannel-ipip'])
    assert.deepEqual(choose([udp(8285), udp(9000), ipip]), ['flannel0', 'flannel1', undefined])
    assert.deepEqual(choose([ipip, udp(8285, 'userspace')]), ['flannel.ipip', 'flannel0'])
  })
})

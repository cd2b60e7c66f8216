import assert from 'node:assert/strict'
import { type ProcFiles, tunHolder, udpPortHolder } from '../../../kernel/kinds/holders.ts'
import type { VxlanDriver } from '../../../kernel/kinds/link/drivers/vxlan.ts'
import { withConflict } from '../../../kernel/kinds/link/vxlan-conflict.ts'
import type { Link } from '../../../kernel/objects.ts'
import * as the from '../fixtures.ts'

const exists = { code: 'EEXIST', message: 'A VXLAN device with the specified VNI already exists' }
const inUse = { code: 'EADDRINUSE', message: 'Address already in use' }
const device = (name: string, driver: Partial<VxlanDriver>) => the.vxlan(name, {}, driver)
const nobody = () => 'nobody'

describe('what is in the way of a vxlan device', () => {
  const text = (error: typeof exists, ...others: readonly Link[]) =>
    withConflict(the.vxlan(), error, others, nobody).message

  it('is the device with its VNI and port, of its IP version before all', () => {
    const six = device('six', { local: the.ip('fd00::1') })
    const four = device('four', {})
    const otherVni = device('vni', { vni: 2 })
    const otherPort = device('port', { port: 4789 })
    assert.match(
      text(exists, otherVni, otherPort, six, four),
      /already exists: four mtu 1450 up .*vxlan id 1 dstport 8472/,
    )
    assert.match(text(exists, otherVni, otherPort, six), /already exists: six /)
    assert.match(text(exists, otherVni, otherPort, the.bridge('br0')), /another network namespace/)
  })

  it('is the device of its own name', () => {
    assert.match(
      text({ ...exists, message: 'File exists' }, the.bridge('flannel.1')),
      /File exists: flannel\.1 .*bridge/,
    )
  })

  it('is who has its port: a device that receives otherwise, or a program', () => {
    assert.match(text(inUse, device('gbp', { vni: 9, gbp: true })), /^UDP port 8472 is in use by the device gbp /)
    assert.equal(text(inUse, device('port', { port: 4789 })), 'UDP port 8472 is in use by nobody')
  })

  it('is left as the kernel says it for other errors and other devices', () => {
    assert.equal(text({ code: 'EPERM', message: 'no' }, device('four', {})), 'no')
    assert.deepEqual(withConflict(the.ipip(), exists, [], nobody), exists)
  })
})

describe('who has a port or a tun', () => {
  const header = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref'
  const row = (port: string, inode: number) =>
    `  7: 0100007F:${port} 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 ${inode} 2 0 0`
  const proc = (udp: readonly string[], more: Partial<ProcFiles> = {}): ProcFiles => ({
    read: (path) => {
      if (path.endsWith('/net/udp6')) return [header, ...udp].join('\n')
      if (path === '/proc/812/comm') return 'dnsmasq\n'
      throw new Error('ENOENT')
    },
    list: (path) => {
      if (path === '/proc') return ['1', 'net', '812']
      if (path === '/proc/812/fd') return ['0', '5']
      throw new Error('EACCES')
    },
    link: (path) => (path === '/proc/812/fd/5' ? 'socket:[4711]' : '/dev/null'),
    ...more,
  })

  it('is named by its socket', () => {
    assert.equal(udpPortHolder(8472, proc([row('2118', 4711)])), 'dnsmasq (pid 812)')
  })

  it('is another program where it cannot be seen', () => {
    for (const files of [
      proc([]),
      proc([row('2119', 4711)]),
      proc([row('2118', 4712)]),
      // The kernel's own.
      proc([row('2118', 0)]),
      proc([row('2118', 4711)], { list: () => assert.fail() }),
      proc([], { read: () => '???\n\n1:2118' }),
    ]) {
      assert.equal(udpPortHolder(8472, files), 'another program')
    }
  })

  it('is named by the device that its descriptor stands for', () => {
    const tun = (iff: string) =>
      proc([], {
        read: (path) => (path === '/proc/812/fdinfo/5' ? `pos:\t0\nflags:\t02\niff:\t${iff}\n` : 'openvpn\n'),
        link: (path) => (path === '/proc/812/fd/5' ? '/dev/net/tun' : 'socket:[1]'),
      })
    assert.equal(tunHolder('flannel0', tun('flannel0')), 'openvpn (pid 812)')
    assert.equal(tunHolder('flannel0', tun('flannel01')), 'another program')
  })
})

import assert from 'node:assert/strict'
import { release } from 'node:os'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import './slow.ts'

describe("Debian's kernel", () => {
  let lab: Lab
  let [left, right]: Host[] = []

  before(async () => {
    lab = await Lab.create({ segments: [{ name: 'lan', subnet: '192.168.64.0/24', hosts: ['h1', 'h2'] }], etcd: false })
    left = lab.host('h1')
    right = lab.host('h2')
  })
  after(async () => await lab?.close())

  function hosts(): readonly [Host, Host] {
    assert.ok(left && right)
    return [left, right]
  }

  it('is the one that runs', () => {
    assert.match(release(), /^6\.1\.0-\d+-amd64$/)
  })

  const kinds = {
    dummy: 'type dummy',
    ipip: 'type ipip local 192.168.64.11 remote 192.168.64.99',
    wireguard: 'type wireguard',
    vxlan: 'type vxlan id 7 local 192.168.64.11 dstport 4789 nolearning',
    bridge: 'type bridge',
    veth: 'type veth peer name other',
    geneve: 'type geneve id 7 remote 192.168.64.99',
    vrf: 'type vrf table 7',
  }
  for (const [kind, options] of Object.entries(kinds)) {
    it(`makes a device of kind ${kind}`, async () => {
      const [host] = hosts()
      await host.ip('link', 'add', 'try', ...options.split(' '))
      try {
        assert.equal((await host.ipJson('-d', 'link', 'show', 'try'))[0].linkinfo.info_kind, kind)
      } finally {
        await host.ip('link', 'del', 'try')
      }
    })
  }

  it('makes a tun', async () => {
    const [host] = hosts()
    await host.ip('tuntap', 'add', 'try', 'mode', 'tun')
    await host.ip('link', 'del', 'try')
  })

  it('delays and loses packets with netem', async () => {
    const [host] = hosts()
    const netem = (verb: string, ...args: string[]) => host.exec(['tc', 'qdisc', verb, 'dev', 'eth0', 'root', ...args])
    await netem('add', 'netem', 'loss', '100%')
    try {
      assert.equal((await host.ping('192.168.64.12', { count: 2 })).received, 0)
    } finally {
      await netem('del')
    }
  })

  it('has nftables with masquerade', async () => {
    const [host] = hosts()
    const input =
      'table ip t { chain c { type nat hook postrouting priority 100; oifname "eth0" masquerade fully-random; }; }'
    await host.exec(['nft', '-f', '-'], { input })
    await host.exec(['nft', 'delete', 'table', 'ip', 't'])
  })

  it('pings through an ipip tunnel', async () => {
    const [one, two] = hosts()
    const ends = [
      [one, '192.168.64.11', '192.168.64.12', '10.99.0.1'],
      [two, '192.168.64.12', '192.168.64.11', '10.99.0.2'],
    ] as const
    for (const [host, local, remote, inner] of ends) {
      await host.ipBatch([
        `link add tunnel type ipip local ${local} remote ${remote} ttl 64`,
        `addr add ${inner}/30 dev tunnel`,
        'link set tunnel up',
      ])
    }
    // The uplink's 1500 less the outer header, then less IP and ICMP.
    assert.equal((await one.ping('10.99.0.2', { size: 1480 - 28, df: true, wait: 5_000 })).received, 3)
    assert.equal((await one.ping('10.99.0.2', { size: 1480 - 27, df: true, wait: 1_000 })).received, 0)
    for (const [host] of ends) await host.ip('link', 'del', 'tunnel')
  })

  // A datagram on port 8285 holds a bare IPv4 packet: flannel's udp backend.
  it('carries bare IPv4 packets in UDP with FOU', async () => {
    const [one, two] = hosts()
    const ends = [
      [one, '192.168.64.11', '192.168.64.12', '10.5.1.0', '10.5.2.0'],
      [two, '192.168.64.12', '192.168.64.11', '10.5.2.0', '10.5.1.0'],
    ] as const
    // It has no alias by which `ip fou` could have it loaded.
    await one.exec(['modprobe', 'fou'])
    for (const [host, local, remote, subnet, peer] of ends) {
      await host.ipBatch([
        'fou add port 8285 ipproto 4',
        `link add flannel0 mtu 1472 type ipip local ${local} ttl 64 encap fou encap-sport 8285 encap-dport 8285`,
        `addr add ${subnet}/32 dev flannel0`,
        'link set flannel0 up',
        `route add ${peer}/24 via ${remote} dev flannel0 onlink`,
      ])
    }
    const count =
      'table ip seen { chain c { type filter hook input priority 0; udp sport 8285 udp dport 8285 counter; }; }'
    await two.exec(['nft', '-f', '-'], { input: count })
    assert.equal((await one.ping('10.5.2.0', { size: 1472 - 28, df: true, wait: 5_000 })).received, 3)
    const { stdout } = await two.exec(['nft', 'list', 'table', 'ip', 'seen'])
    assert.match(stdout, /counter packets 3 /)
    for (const [host] of ends) {
      await host.ip('link', 'del', 'flannel0')
      await host.ip('fou', 'del', 'port', '8285')
    }
  })
})

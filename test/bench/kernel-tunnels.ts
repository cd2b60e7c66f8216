// npm run bench:tunnels (in the virtual machine): what the kernel's own ways carry from host to host, in turns, made
// by ip commands alone. FOU is udp's kernel engine. Emulated, so only the shares say something.
import { execFileSync } from 'node:child_process'
import { Lab } from '../../lab/lab.ts'
import { formatColumns } from '../../lab/reach-table.ts'
import { median } from './statistics.ts'

const SECONDS = 3
const ROUNDS = 3
const addresses = ['192.168.64.11', '192.168.64.12'] as const

/** Lines for `ip -batch`, for the host with address number `own` (1 or 2); inside it has `<prefix>.<own>`. */
interface Way {
  readonly name: string
  readonly prefix: string
  lines(local: string, remote: string): readonly string[]
}

const ways: readonly Way[] = [
  { name: 'veth', prefix: '192.168.64.1', lines: () => [] },
  {
    name: 'ipip',
    prefix: '10.98.0.',
    lines: (local, remote) => [`link add ipip1 mtu 1480 type ipip local ${local} remote ${remote} ttl 64`],
  },
  {
    name: 'fou',
    prefix: '10.97.0.',
    lines: (local, remote) => [
      'fou add port 8285 ipproto 4',
      `link add fou1 mtu 1472 type ipip local ${local} remote ${remote} ttl 64 encap fou encap-sport 8285 encap-dport 8285`,
    ],
  },
  {
    name: 'vxlan',
    prefix: '10.96.0.',
    lines: (local, remote) => [
      `link add vxlan1 mtu 1450 type vxlan id 1 dstport 8472 local ${local} remote ${remote} dev eth0`,
    ],
  },
]

execFileSync('modprobe', ['fou'])
const lab = await Lab.create({
  segments: [{ name: 'lan', subnet: '192.168.64.0/24', hosts: ['h1', 'h2'] }],
  etcd: false,
})
try {
  const [one, two] = [lab.host('h1'), lab.host('h2')]
  await two.start(['iperf3', '-s'], { log: `${two.folder}/iperf.log` })
  const samples = new Map<string, number[]>()
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const way of ways) {
      // Two ipip devices with one local address would receive for each other: one way at a time.
      for (const [index, host] of [one, two].entries()) {
        const [local = '', remote = ''] = index === 0 ? addresses : addresses.toReversed()
        const lines = way.lines(local, remote)
        const inner = [`addr add ${way.prefix}${index + 1}/24 dev ${way.name}1`, `link set ${way.name}1 up`]
        if (lines.length > 0) await host.ipBatch([...lines, ...inner])
      }
      for (const [kind, args] of [
        ['TCP, Mbit/s', []],
        ['UDP 64 bytes, /s', ['-u', '-b', '0', '-l', '64']],
      ] as const) {
        const argv = ['iperf3', '-J', '-c', `${way.prefix}2`, '-t', String(SECONDS), ...args]
        const { end } = JSON.parse((await one.exec(argv, { timeout: 120_000 })).stdout)
        const { bits_per_second: bits, packets, lost_packets: lost } = end.sum_received ?? end.sum
        const figure =
          args.length === 0 ? bits / 1e6 : ((end.sum?.packets ?? packets) - (end.sum?.lost_packets ?? lost)) / SECONDS
        samples.set(`${kind} ${way.name}`, [...(samples.get(`${kind} ${way.name}`) ?? []), figure])
      }
      for (const host of way.name === 'veth' ? [] : [one, two]) {
        await host.ip('link', 'del', `${way.name}1`)
        if (way.name === 'fou') await host.ip('fou', 'del', 'port', '8285')
      }
    }
  }
  const rows = ['TCP, Mbit/s', 'UDP 64 bytes, /s'].map((kind) => [
    kind,
    ...ways.map(({ name }) => median(samples.get(`${kind} ${name}`) ?? []).toFixed(0)),
  ])
  process.stdout.write(`${formatColumns([['', ...ways.map(({ name }) => name)], ...rows]).join('\n')}\n`)
} catch (cause) {
  process.stderr.write(`${cause instanceof Error ? cause.stack : cause}\n`)
  process.exitCode = 1
} finally {
  await lab.close()
}

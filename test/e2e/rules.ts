import assert from 'node:assert/strict'
import { execPath } from 'node:process'
import type { Host } from '../../lab/host.ts'
import type { Lab } from '../../lab/lab.ts'
import type { Namespace } from '../../lab/namespace.ts'
import { until } from './world.ts'

/** The lab's place outside of the overlay: only the router knows the way, and none back into the overlay. */
export const outside = '192.0.2.10'
export const answerPort = 7001

/** Answers each datagram, and each connection, with the address that it came from. */
const answerer = `
for (const [type, any] of [['udp4', '0.0.0.0'], ['udp6', '::']]) {
  const socket = require('node:dgram').createSocket({ type, ipv6Only: type === 'udp6' })
  socket.on('message', (_m, from) => socket.send(from.address, from.port, from.address))
  socket.bind(${answerPort}, any)
}
require('node:net').createServer((client) => {
  client.on('error', () => {})
  client.end(client.remoteAddress)
}).listen(${answerPort}, '0.0.0.0')`

/** What comes from elsewhere than the question went to is no answer. */
const udpAsker = (address: string, port: number, ms: number) => `
const socket = require('node:dgram').createSocket('${address.includes(':') ? 'udp6' : 'udp4'}')
const ask = () => socket.send('?', ${port}, '${address}')
socket.on('message', (message, from) => {
  if (from.address !== '${address}' || from.port !== ${port}) return
  process.stdout.write(message)
  process.exit(0)
})
ask(); setInterval(ask, 100); setTimeout(() => process.exit(1), ${ms})`

const tcpAsker = (address: string, port: number, ms: number) => `
const socket = require('node:net').connect(${port}, '${address}')
socket.on('data', (text) => process.stdout.write(text))
socket.on('end', () => process.exit(0)).on('error', () => process.exit(1))
setTimeout(() => process.exit(1), ${ms})`

/** Resolves when questions are answered. */
export async function answer(place: Namespace, { ms = 20_000 }: { readonly ms?: number } = {}): Promise<void> {
  await place.start([execPath, '-e', answerer], { log: '/dev/null' })
  await until(ms, 'somebody answers', async () => {
    const { stdout } = await place.exec(['ss', '-Hltun', `sport = :${answerPort}`])
    for (const protocol of [/^udp/m, /^tcp/m]) assert.match(stdout, protocol)
  })
}

/** As whom `address` sees us; empty: no answer came within 10 s. */
export async function seenAs(from: Namespace, address: string): Promise<string> {
  return await askedAs(from, { address, port: answerPort, protocol: 'udp' })
}

/** That questions are not answered. */
export async function unseenBy(from: Namespace, address: string): Promise<boolean> {
  return (await askedAs(from, { address, port: answerPort, protocol: 'udp', ms: 1_500 })) === ''
}

/** The same of any port, which may lead elsewhere. */
export async function askedAs(
  from: Namespace,
  { address, port, protocol, ms = 10_000 }: { address: string; port: number; protocol: 'tcp' | 'udp'; ms?: number },
): Promise<string> {
  const asker = protocol === 'tcp' ? tcpAsker : udpAsker
  const { stdout } = await from.exec([execPath, '-e', asker(address, port, ms)], { anyCode: true })
  return stdout
}

/** The router learns the way back to each host's containers, so that an unmasqueraded packet gets its answer. */
export async function routeBack(lab: Lab): Promise<void> {
  for (const host of lab.hosts) {
    const { families } = await host.subnetEnv()
    for (const { subnet } of families) await lab.router.ip('route', 'replace', subnet, 'via', host.address)
  }
}

/** What `iptables-save` shows of flannel, sorted, without counters and without the name of the instance. */
export async function iptablesRules(host: Host, program = 'iptables-nft'): Promise<readonly string[]> {
  const { stdout } = await host.exec([`${program}-save`])
  const lines = stdout.split('\n').filter((line) => line.includes('flanneld '))
  return lines.map((line) => line.replace(/(FLANNEL-[A-Z]+)-[0-9a-f]{8}/g, '$1')).sort()
}

/** The chains and tables of flannel that are there, of any tool. */
export async function rulePlaces(host: Host): Promise<readonly string[]> {
  const script =
    'nft list tables; for p in iptables ip6tables; do for w in nft legacy; do $p-$w-save | sed "s/^/$p-$w /"; done; done'
  const { stdout } = await host.exec(['sh', '-c', script])
  const places = stdout.split('\n').flatMap((line) => {
    const [, program, chain] = /^(\S+) :(FLANNEL-[A-Z]+)/.exec(line) ?? []
    if (program !== undefined) return [`${program} ${chain}`]
    const table = /^table (ip6?) flannel-ipv[46]/.exec(line)?.[1]
    return table === undefined ? [] : [`nft ${table}`]
  })
  return places.sort()
}

/** Runs a line in the host and says after how many ms everything is as before. */
export async function healedAfter(
  host: Host,
  line: string,
  look: () => Promise<readonly string[]>,
  limitMs = 1_000,
): Promise<number> {
  const before = await look()
  assert(before.length > 0)
  await host.exec(['sh', '-c', line])
  return await until(limitMs, `healed after ${line}`, async () => assert.deepEqual(await look(), before))
}

/** Compatibility contract §7, as `iptables-save` shows it. */
export function contractRules(subnet: string): readonly string[] {
  const comment = '-m comment --comment "flanneld masq"'
  const network = '10.5.0.0/16'
  return [
    `-A POSTROUTING ${comment} -j FLANNEL-POSTRTG`,
    `-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 ${comment} -j RETURN`,
    `-A FLANNEL-POSTRTG -s ${subnet} -d ${network} ${comment} -j RETURN`,
    `-A FLANNEL-POSTRTG -s ${network} -d ${subnet} ${comment} -j RETURN`,
    `-A FLANNEL-POSTRTG ! -s ${network} -d ${subnet} ${comment} -j RETURN`,
    `-A FLANNEL-POSTRTG -s ${network} ! -d 224.0.0.0/4 ${comment} -j MASQUERADE --random-fully`,
    `-A FLANNEL-POSTRTG ! -s ${network} -d ${network} ${comment} -j MASQUERADE --random-fully`,
    '-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD',
    '-A FLANNEL-FWD -s 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT',
    '-A FLANNEL-FWD -d 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT',
  ]
}

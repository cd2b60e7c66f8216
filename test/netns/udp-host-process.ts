// Started by udp-host.ts in a namespace: a proxy without the daemon around it. SIGHUP: reads its table again. SIGUSR2: says
// its counters. SIGUSR1: takes the tun away from the worker, which dies of it. Each line of output is one JSON object.
import { closeSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { type ProxyTable, UdpEngine } from '../../backends/udp/engine.ts'
import { parseIp } from '../../lib/address.ts'
import { systemClock } from '../../lib/clock.ts'
import { createLogger } from '../../lib/log.ts'

const [, , tableFile = '', localText = '', workerFile = ''] = process.argv
const local = parseIp(localText)
if (local === undefined) throw new Error('usage: udp-host-process.ts TABLE-FILE ADDRESS WORKER')
const readTable = (): ProxyTable => JSON.parse(readFileSync(tableFile, 'utf8'))
const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`)

const engine = new UdpEngine(
  {
    clock: systemClock,
    log: createLogger((severity, message, fields) => say({ severity, message, ...fields })),
    random: Math.random,
    table: readTable(),
    onState: (state) => say({ ...state, error: state.at === 'failed' ? state.error.message : undefined }),
  },
  { device: 'flannel0', local, port: 8285, workerFile: pathToFileURL(workerFile) },
)
// Keeps the process, which has nothing else to wait for.
const alive = setInterval(() => {}, 60_000)
process.on('SIGHUP', () => {
  engine.replaceTable(readTable())
  say({ tables: 'replaced' })
})
process.on('SIGUSR2', () => say({ counters: engine.counters(), deaths: engine.deaths }))
process.on('SIGUSR1', () => {
  const links = readdirSync('/proc/self/fd').map((fd) => ({ fd: Number(fd), target: targetOf(fd) }))
  for (const { fd, target } of links) if (target === '/dev/net/tun') closeSync(fd)
})
process.on('SIGTERM', async () => {
  await engine.stop()
  clearInterval(alive)
})
await engine.start()
if (engine.state.at === 'failed') throw engine.state.error

function targetOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    // That of the folder just read.
    return ''
  }
}

import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { execPath } from 'node:process'
import { setTimeout as delay } from 'node:timers/promises'
import type { Container } from '../../lab/container.ts'

const server = `
const hash = require('node:crypto').createHash('sha256')
require('node:net').createServer((socket) => {
  socket.on('data', (chunk) => hash.update(chunk)).on('end', () => { console.log(hash.digest('hex')); process.exit() })
}).listen(Number(process.argv[1]), () => console.log('listens'))`

const client = `
const socket = require('node:net').connect(Number(process.argv[2]), process.argv[1], () => {
  const bytes = Buffer.alloc(Number(process.argv[3]))
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = i * 2654435761 >>> 13
  socket.end(bytes)
})`

let nextPort = 7000

/** Sends `bytes` over one TCP connection; throws unless every one arrived as it was sent. */
export async function transfer(from: Container, to: Container, folder: string, bytes: number): Promise<void> {
  const port = nextPort
  nextPort += 1
  const program = await to.start([execPath, '-e', server, String(port)], { log: join(folder, `tcp-${port}.log`) })
  const says = async (pattern: RegExp) => {
    for (let tries = 0; ; tries += 1) {
      const match = pattern.exec(await program.logText())
      if (match !== null) return match[0]
      if (tries > 6_000) throw new Error(`the server on ${to.label} never said ${pattern}`)
      await delay(10)
    }
  }
  try {
    await says(/listens/)
    await from.exec([execPath, '-e', client, to.address, String(port), String(bytes)], { timeout: 120_000 })
    const sent = Buffer.alloc(bytes)
    for (let index = 0; index < bytes; index += 1) sent[index] = (index * 2654435761) >>> 13
    const expected = createHash('sha256').update(sent).digest('hex')
    const arrived = await says(/[0-9a-f]{64}/)
    if (arrived !== expected) throw new Error(`${bytes} bytes from ${from.label} to ${to.label} arrived changed`)
  } finally {
    await program.stop()
  }
}

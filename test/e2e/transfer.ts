import assert from 'node:assert/strict'
import { execPath } from 'node:process'
import type { Namespace } from '../../lab/namespace.ts'
import { until } from './world.ts'

/** Sends so many MiB by TCP, with `pauseMs` between two, and says how many bytes arrived whole. */
export async function transfer(
  from: Namespace,
  to: Namespace & { readonly address: string },
  megabytes: number,
  pauseMs = 0,
): Promise<number> {
  const block = `Buffer.alloc(2 ** 20, 'overlay')`
  const server = `
    let got = 0, wrong = 0
    const block = ${block}
    const server = require('net').createServer((socket) => {
      socket.on('data', (chunk) => {
        const at = got % block.length
        const rest = Math.min(chunk.length, block.length - at)
        if (chunk.compare(block, at, at + rest, 0, rest) !== 0) wrong += 1
        got += chunk.length
      })
      socket.on('end', () => { socket.end(String(wrong > 0 ? -wrong : got)); server.close() })
    })
    server.listen(5001, () => process.stdout.write('listening'))`
  const client = `
    const socket = require('net').connect(5001, '${to.address}')
    socket.on('connect', async () => {
      const block = ${block}
      for (let n = 0; n < ${megabytes}; n += 1) {
        if (!socket.write(block)) await new Promise((resolve) => socket.once('drain', resolve))
        if (${pauseMs} > 0) await new Promise((resolve) => setTimeout(resolve, ${pauseMs}))
      }
      socket.end()
    })
    socket.on('data', (answer) => process.stdout.write(answer))`
  // Only a stream that fails anyway waits so long.
  const receiver = to.exec([execPath, '-e', server], { timeout: 240_000 })
  await until(30_000, 'a server listens', async () => {
    assert.match((await to.exec(['ss', '-Hltn', 'sport = :5001'])).stdout, /5001/)
  })
  const { stdout } = await from.exec([execPath, '-e', client], { timeout: 240_000 })
  await receiver
  return Number(stdout)
}

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { execPath } from 'node:process'
import type { Lab } from '../../lab/lab.ts'
import type { Namespace } from '../../lab/namespace.ts'
import type { Program } from '../../lab/program.ts'
import { until } from './world.ts'

const ECHO = (address: string, port: number) => `
require('node:net').createServer((socket) => {
  socket.on('error', () => {})
  socket.pipe(socket)
}).listen(${port}, '${address}', () => process.stdout.write('listening'))`

/** Sends a number ten times a second and writes down each that comes back, and how it ended. */
const HOLD = (address: string, port: number, from: string | undefined) => `
const options = { host: '${address}', port: ${port}${from === undefined ? '' : `, localAddress: '${from}'`} }
const socket = require('node:net').connect(options, () => {
  process.stdout.write('from ' + socket.localAddress + '\\n')
  let number = 0
  setInterval(() => socket.write(String(number++) + '\\n'), 100)
})
socket.on('data', (chunk) => process.stdout.write(chunk))
socket.on('error', (cause) => process.stdout.write('broken ' + cause.code + '\\n'))
socket.on('close', () => process.exit())`

/** Listens until the lab closes; what it gets on a connection it sends back. */
export async function echo(lab: Lab, place: Namespace, address: string, port: number): Promise<void> {
  const server = await place.start([execPath, '-e', ECHO(address, port)], {
    log: join(lab.folder, `echo-${place.name}-${port}.log`),
  })
  await until(10_000, 'somebody listens', async () => assert.equal(await server.logText(), 'listening'))
}

/** A TCP connection on which something is said all the time. */
export class HeldConnection {
  static #opened = 0
  readonly #program: Program

  private constructor(program: Program) {
    this.#program = program
  }

  /** `from`: the source, where it is not the one that the kernel chooses. */
  static async open(
    lab: Lab,
    place: Namespace,
    to: { readonly address: string; readonly port: number; readonly from?: string },
  ): Promise<HeldConnection> {
    HeldConnection.#opened += 1
    const log = join(lab.folder, `held-${HeldConnection.#opened}.log`)
    const held = new HeldConnection(await place.start([execPath, '-e', HOLD(to.address, to.port, to.from)], { log }))
    await held.answers()
    return held
  }

  /** The address that it was made from. */
  async source(): Promise<string | undefined> {
    return /^from (.*)$/m.exec(await this.#program.logText())?.[1]
  }

  /** Why it ended; undefined: it has not. */
  async broken(): Promise<string | undefined> {
    return /^broken (.*)$/m.exec(await this.#program.logText())?.[1]
  }

  async close(): Promise<void> {
    await this.#program.kill()
  }

  /** Waits until more is answered than by now. */
  async answers(ms = 15_000): Promise<void> {
    const before = await this.#answered()
    await until(ms, 'the connection goes on', async () => {
      assert.equal(await this.broken(), undefined)
      assert.ok((await this.#answered()) > before + 5, await this.#program.logText())
    })
  }

  async #answered(): Promise<number> {
    return (await this.#program.logText()).split('\n').length
  }
}

import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execPath } from 'node:process'
import type { Lab } from '../../lab/lab.ts'
import { controlPlane } from '../../lab/layout.ts'
import { until } from './world.ts'

const PORT = 8001

/** Hands on every request, but holds those whose path matches what is in the file `hold`, as long as it is there; `held` says that it holds one. */
const gate = `
const { existsSync, readFileSync, writeFileSync } = require('node:fs')
const { createServer } = require('node:http')
const { Agent, request } = require('node:https')
const [address, port, url, ca, folder] = process.argv.slice(1)
const agent = new Agent({ keepAlive: true })
const holds = (path) => {
  const pattern = existsSync(folder + '/hold') ? readFileSync(folder + '/hold', 'utf8') : ''
  return pattern !== '' && new RegExp(pattern).test(path)
}
createServer(async (asked, answer) => {
  while (holds(asked.url)) {
    writeFileSync(folder + '/held', asked.url)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  const { method, headers } = asked
  const sent = request(url + asked.url, { method, headers: { ...headers, host: new URL(url).host }, ca: readFileSync(ca), agent }, (response) => {
    answer.writeHead(response.statusCode, response.headers)
    answer.flushHeaders()
    response.pipe(answer)
  })
  sent.on('error', () => answer.destroy())
  answer.on('close', () => sent.destroy())
  asked.pipe(sent)
}).listen(Number(port), address)`

/** Stands before the API server and lets requests wait, so that something can happen between two of them. */
export class ApiGate {
  readonly url = `http://${controlPlane.address}:${PORT}`
  readonly #folder: string

  private constructor(folder: string) {
    this.#folder = folder
  }

  /** Ends with the lab. `ca`: a file. */
  static async start(lab: Lab, server: { readonly url: string; readonly ca: string }): Promise<ApiGate> {
    const { folder } = lab
    const args = [controlPlane.address, String(PORT), server.url, server.ca, folder]
    await lab.controlPlane.start([execPath, '-e', gate, ...args], { log: join(folder, 'gate.log') })
    await until(10_000, 'the gate listens', () =>
      lab.controlPlane.exec(['sh', '-c', `ss -Hltn "sport = :${PORT}" | grep -q .`]),
    )
    return new ApiGate(folder)
  }

  /** From now on requests whose path matches this wait; empty: none. */
  async hold(pattern: string): Promise<void> {
    await writeFile(join(this.#folder, 'hold'), pattern)
    await rm(join(this.#folder, 'held'), { force: true })
  }

  /** Resolves when one waits that matches. */
  async holds(pattern: RegExp): Promise<void> {
    await until(20_000, `a request for ${pattern} waits`, async () => {
      const held = await readFile(join(this.#folder, 'held'), 'utf8')
      if (!pattern.test(held)) throw new Error(`${held} waits`)
    })
  }
}

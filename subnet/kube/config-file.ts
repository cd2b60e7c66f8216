import { readFile } from 'node:fs/promises'
import { Alarm } from '../../lib/alarm.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Source } from '../../lib/latest.ts'
import type { ConfigText } from '../types.ts'

/** By reading: a ConfigMap's volume changes by a symbolic link that is swapped, and the file is small. */
const LOOK_MS = 2_000

/** The network configuration in a file. A missing one is a value, too (`text` undefined). */
export class FileConfigSource implements Source<ConfigText> {
  readonly name = 'configuration file'
  readonly #clock: Clock
  readonly #path: string
  readonly #alarm: Alarm
  #revision = 0

  constructor(needs: { clock: Clock }, options: { path: string }) {
    this.#clock = needs.clock
    this.#alarm = new Alarm(needs)
    this.#path = options.path
  }

  /** Reads the file again now (SIGHUP). */
  refresh(): void {
    this.#alarm.ring()
  }

  async *watch(signal: AbortSignal): AsyncGenerator<ConfigText> {
    const stop = () => this.#alarm.stop()
    signal.addEventListener('abort', stop, { once: true })
    let last: ConfigText | undefined
    try {
      while (!signal.aborted) {
        const text = await this.#read()
        if (last === undefined || text !== last.text) {
          this.#revision += 1
          last = { text, revision: String(this.#revision), origin: this.#path, subnets: 'assigned' }
          yield last
        }
        if (!signal.aborted) await this.#alarm.until(this.#clock.now() + LOOK_MS)
      }
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }

  /** What cannot be read is as good as missing. */
  async #read(): Promise<string | undefined> {
    return await readFile(this.#path, 'utf8').catch(() => undefined)
  }
}

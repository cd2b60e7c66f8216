import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const execute = promisify(execFile)
const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

/** Certificates made by openssl in a folder: NAME.crt and NAME.key. */
export class Certificates {
  readonly folder: string

  constructor(folder: string) {
    this.folder = folder
  }

  at(file: string): string {
    return join(this.folder, file)
  }

  async authority(name: string, days = 2): Promise<void> {
    const files = ['-keyout', this.at(`${name}.key`), '-out', this.at(`${name}.crt`)]
    await execute('openssl', ['req', '-x509', ...newKey, '-days', String(days), '-subj', `/CN=${name}`, ...files])
  }

  /** For a server and a client alike; `days` from now, below zero: run out already. */
  async certificate(name: string, options: { ca: string; alternative: string; days?: number }): Promise<void> {
    const { ca, alternative, days = 2 } = options
    const extensions = this.at(`${name}.ext`)
    await writeFile(extensions, `subjectAltName=${alternative}\nextendedKeyUsage=serverAuth,clientAuth\n`)
    const request = this.at(`${name}.csr`)
    await execute('openssl', [
      'req',
      ...newKey,
      '-subj',
      `/CN=${name}`,
      '-keyout',
      this.at(`${name}.key`),
      '-out',
      request,
    ])
    const signer = ['-CA', this.at(`${ca}.crt`), '-CAkey', this.at(`${ca}.key`), '-CAcreateserial']
    const signed = ['-days', String(days), '-extfile', extensions, '-out', this.at(`${name}.crt`)]
    await execute('openssl', ['x509', '-req', '-in', request, ...signer, ...signed])
  }
}

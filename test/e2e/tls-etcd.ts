import { chmod, copyFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Certificates } from '../etcd/certificates.ts'

export const etcdEndpoints = 'https://192.0.2.10:2379'
/** What a certificate for etcd in the lab must name. */
export const etcdName = 'IP:192.0.2.10'

interface Authority {
  readonly name: string
  readonly days?: number
}

type Wanted = Readonly<Record<string, Parameters<Certificates['certificate']>[1]>>

/** Certificates for an etcd in the lab, in a folder of their own; what it serves can be changed while it runs. */
export class TlsEtcd {
  readonly #certificates: Certificates

  private constructor(certificates: Certificates) {
    this.#certificates = certificates
  }

  /** It serves the first of the certificates. */
  static async create(authorities: readonly Authority[], wanted: Wanted): Promise<TlsEtcd> {
    const etcd = new TlsEtcd(new Certificates(await mkdtemp(join(tmpdir(), 'flannel-tls-'))))
    for (const { name, days } of authorities) await etcd.#certificates.authority(name, days)
    for (const [name, options] of Object.entries(wanted)) {
      await etcd.#certificates.certificate(name, options)
      await chmod(etcd.at(`${name}.key`), 0o600)
    }
    await etcd.serve(Object.keys(wanted)[0] ?? '')
    return etcd
  }

  get folder(): string {
    return this.#certificates.folder
  }

  at(file: string): string {
    return this.#certificates.at(file)
  }

  /** etcd reads its certificate again for each handshake. */
  async serve(name: string): Promise<void> {
    for (const kind of ['crt', 'key']) await copyFile(this.at(`${name}.${kind}`), this.at(`served.${kind}`))
  }

  /** For `Lab.create`. */
  get args(): readonly string[] {
    const urls = [
      '--listen-client-urls=https://0.0.0.0:2379,unix://client:1',
      `--advertise-client-urls=${etcdEndpoints}`,
    ]
    return [...urls, `--cert-file=${this.at('served.crt')}`, `--key-file=${this.at('served.key')}`]
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true })
  }
}

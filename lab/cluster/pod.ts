import type { IpAddr } from '../../lib/address.ts'
import { Namespace } from '../namespace.ts'

/** A pod's network, entered by one of its processes: the image needs no program for what a test does in it. */
export class Pod extends Namespace {
  /** As Kubernetes has it, one per family. */
  readonly addresses: readonly IpAddr[]
  readonly uid: string
  readonly #pid: number

  constructor(
    needs: { labId: string; signal: AbortSignal },
    options: { name: string; uid: string; pid: number; addresses: readonly IpAddr[] },
  ) {
    super(needs, options)
    this.uid = options.uid
    this.#pid = options.pid
    this.addresses = options.addresses
  }

  get address(): IpAddr {
    const [first] = this.addresses
    if (first === undefined) throw new Error(`pod ${this.name} has no address`)
    return first
  }

  override get enter(): readonly string[] {
    return ['nsenter', `--net=/proc/${this.#pid}/ns/net`, '--']
  }
}

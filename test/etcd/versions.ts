import { type Capability, needs, peerProgram } from '../needs.ts'

type Peer = Extract<Capability, `peer:${string}`>

/** The versions of etcd that are tried: Debian's in PATH, and those that are there as peers. */
const versions: readonly { readonly name: string; readonly peer?: Peer }[] = [
  { name: 'etcd 3.4' },
  { name: 'etcd 3.6', peer: 'peer:etcd-3.6' },
  { name: 'etcd 3.7', peer: 'peer:etcd-3.7' },
]

/** A `describe` for each version; `program` is known once its tests run. */
export function forEachVersion(tests: (name: string, program: () => string) => void): void {
  for (const { name, peer } of versions) {
    describe(name, function () {
      if (peer !== undefined) needs(this, peer)
      tests(name, () => (peer === undefined ? 'etcd' : peerProgram(peer)))
    })
  }
}

import { type Cidr, type IpAddr, ipToNumber, networkAddress, prefixLength } from '../../lib/address.ts'

/** A subnet and the address to which its packets are sent. IPv4 only. */
export interface ProxyPeer {
  readonly subnet: Cidr
  readonly publicIp: IpAddr
}

// The table is one buffer, never changed once it is made: the worker goes from one to the next between two packets.
// Words: own address, count of prefix lengths, log2 of the slots of routes, of hosts; 33 lengths, longest first;
// then the slots. A route's slot: network, prefix length + 1 (0: empty), public address. A host's slot: its address or 0.
const LENGTHS = 4
const SLOTS = LENGTHS + 33
const ROUTE_WORDS = 3

/** `own` is the tun's address, the source of what it says itself. Of two peers with one subnet the last counts. */
export function buildPeerTable(own: IpAddr, peers: readonly ProxyPeer[]): SharedArrayBuffer {
  const lengths = [...new Set(peers.map(({ subnet }) => prefixLength(subnet)))].sort((a, b) => b - a)
  // At most half full, so that a search ends after a slot or two however many peers there are.
  const slotBits = Math.max(3, Math.ceil(Math.log2(Math.max(1, peers.length) * 2)))
  const routeSlots = 2 ** slotBits
  const buffer = new SharedArrayBuffer(4 * (SLOTS + routeSlots * (ROUTE_WORDS + 1)))
  const words = new Int32Array(buffer)
  words.set([addressNumber(own), lengths.length, slotBits])
  words.set(lengths, LENGTHS)
  const hosts = SLOTS + routeSlots * ROUTE_WORDS
  for (const { subnet, publicIp } of peers) {
    const network = addressNumber(networkAddress(subnet))
    const length = prefixLength(subnet)
    const outer = addressNumber(publicIp)
    let slot = hash(network, slotBits)
    while (!isFreeOr(words, SLOTS + slot * ROUTE_WORDS, network, length)) slot = (slot + 1) & (routeSlots - 1)
    words.set([network, length + 1, outer], SLOTS + slot * ROUTE_WORDS)
    let host = hash(outer, slotBits)
    while (words[hosts + host] !== 0 && words[hosts + host] !== outer) host = (host + 1) & (routeSlots - 1)
    words[hosts + host] = outer
  }
  return buffer
}

/** Reads what `buildPeerTable` made. Addresses are signed 32-bit numbers; 0 is no address. */
export class PeerTable {
  readonly own: number
  readonly #words: Int32Array
  readonly #lengths: Int32Array
  readonly #slotBits: number
  readonly #lastSlot: number
  readonly #hosts: number
  // Packets come in trains: most ask what the one before asked.
  #lastAddress = 0
  #lastRoute = 0

  constructor(buffer: SharedArrayBuffer) {
    const words = new Int32Array(buffer)
    this.#words = words
    this.own = words[0] ?? 0
    this.#lengths = words.slice(LENGTHS, LENGTHS + (words[1] ?? 0))
    this.#slotBits = words[2] ?? 0
    this.#lastSlot = 2 ** this.#slotBits - 1
    this.#hosts = SLOTS + 2 ** this.#slotBits * ROUTE_WORDS
    // Whoever asks for 0.0.0.0 first asks what seems to have been asked before.
    this.#lastRoute = this.#search(0)
  }

  /** Public address of the peer whose subnet holds the address (the longest prefix), or 0. */
  routeOf(address: number): number {
    if (address === this.#lastAddress) return this.#lastRoute
    this.#lastAddress = address
    this.#lastRoute = this.#search(address)
    return this.#lastRoute
  }

  /** Whether the address is a peer's public one. */
  isPeer(address: number): boolean {
    if (address === 0) return false
    let slot = hash(address, this.#slotBits)
    for (;;) {
      const host = this.#words[this.#hosts + slot]
      if (host === address) return true
      if (host === 0) return false
      slot = (slot + 1) & this.#lastSlot
    }
  }

  #search(address: number): number {
    const words = this.#words
    for (let index = 0; index < this.#lengths.length; index += 1) {
      const length = this.#lengths[index] ?? 0
      // A shift by 32 does nothing in JavaScript.
      const network = length === 0 ? 0 : address & (-1 << (32 - length))
      let slot = hash(network, this.#slotBits)
      for (;;) {
        const at = SLOTS + slot * ROUTE_WORDS
        const found = words[at + 1] ?? 0
        if (found === 0) break
        if (found === length + 1 && words[at] === network) return words[at + 2] ?? 0
        slot = (slot + 1) & this.#lastSlot
      }
    }
    return 0
  }
}

/** As the table holds addresses: `10.5.0.1` is 0x0a050001, from 128.0.0.0 on negative. */
export function addressNumber(address: IpAddr): number {
  return Number(ipToNumber(address)) | 0
}

// Subnets differ in few bits in the middle; the multiplication spreads them to the top (Knuth 6.4).
function hash(key: number, bits: number): number {
  return Math.imul(key, 0x9e3779b1) >>> (32 - bits)
}

function isFreeOr(words: Int32Array, at: number, network: number, length: number): boolean {
  return words[at + 1] === 0 || (words[at] === network && words[at + 1] === length + 1)
}

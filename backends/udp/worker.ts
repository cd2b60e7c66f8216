import { setFlagsFromString } from 'node:v8'
import { isMainThread, type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import {
  openEvent,
  openUdpSocket,
  readInto,
  receiveMessages,
  rest,
  sendMessages,
  waitFor,
  writeVectors,
} from '../../kernel/ffi/datagrams.ts'
import { allocateNative } from '../../kernel/ffi/native-memory.ts'
import { openTun } from '../../kernel/ffi/tun.ts'
import { Coalescer } from './coalescer.ts'
import { Egress } from './egress.ts'
import { Forwarding } from './forwarding.ts'
import { Ingress } from './ingress.ts'
import { Arena, type Memory } from './memory.ts'
import { Moderation } from './moderation.ts'
import { PeerTable } from './peer-table.ts'
import { Control, ProxyMemory } from './proxy-memory.ts'
import { ReceiveBatch } from './receive-batch.ts'
import { SendBatch } from './send-batch.ts'
import type { Offloads, WorkerFailed, WorkerMessage, WorkerReady, WorkerStart } from './worker-messages.ts'

const ARENA_BYTES = 2 ** 21
const RECEIVED_AT_ONCE = 8
const SOCKET_BUFFER_BYTES = 4 * 2 ** 20
/** A thread that waits in `poll` does not notice `terminate()`: so long at most does the end of the process take. */
const POLL_MS = 500
const SEND_TRIES = 20
const REST_US = 50

const EINTR = -4
const EBADF = -9
const EFAULT = -14
const EBADFD = -77
const POLLIN = 1
const POLLOUT = 4

/** The daemon runs without V8's optimising compiler (flanneld/heap.ts), which packets are worth. One switch for all threads. */
function optimise(): void {
  setFlagsFromString('--opt')
}

/** Opens the devices and carries packets until asked to stop; never returns to the event loop while it runs. */
function run(start: WorkerStart, parent: MessagePort): void {
  const { control, counters } = new ProxyMemory(start.shared)
  const fail = (what: WorkerFailed['what'], errno: number) => {
    parent.postMessage({ type: 'failed', what, errno } satisfies WorkerFailed)
  }
  // Each descriptor is written down at once: the engine closes what is written, however this thread ends.
  const event = openEvent()
  if (event < 0) {
    fail('event', event)
    return
  }
  Atomics.store(control, Control.eventFd, event)
  const tun = openTun(start.device)
  if (typeof tun === 'number') {
    fail('tun', tun)
    return
  }
  Atomics.store(control, Control.tunFd, tun.fd)
  const socket = openUdpSocket(start.local, start.port, SOCKET_BUFFER_BYTES)
  if (typeof socket === 'number') {
    fail('socket', socket)
    return
  }
  Atomics.store(control, Control.socketFd, socket.fd)

  const arena = new Arena(allocateNative(ARENA_BYTES))
  const at = arena.memory.address
  const room = new PollSet(arena, [socket.fd])
  const scratch = arena.take(8)
  const forwarding = new Forwarding(arena.memory)
  const sendPort = {
    send: (messages: number, count: number) => sendMessages(socket.fd, at + messages, count),
    awaitRoom: (tries: number) => {
      // The socket may be writable while the device's queue is full: then nothing but time helps.
      room.wait(1, tries % 2 === 0 ? POLLOUT : 0)
      return tries < SEND_TRIES
    },
  }
  const batch = new SendBatch(
    { arena, counters, port: sendPort },
    { peerPort: start.port, segmentation: socket.segmentation },
  )
  const write = (vectors: number, count: number) => writeVectors(tun.fd, at + vectors, count)
  const writer = new Coalescer({ arena, write, counters })
  const receive = (messages: number, count: number) => receiveMessages(socket.fd, at + messages, count)
  const received = new ReceiveBatch({ arena, receive }, { messages: RECEIVED_AT_ONCE })
  const read = (offset: number, length: number) => readInto(tun.fd, at + offset, length)
  const loop: Loop = {
    ingress: new Ingress({ forwarding, batch: received, tun: writer, counters }),
    egress: new Egress({ arena, forwarding, read, batch, replies: writer, counters }),
    idle: new PollSet(arena, [tun.fd, socket.fd, event]),
    silence: () => readInto(event, at + scratch, 8),
    doorbell: () => Atomics.load(control, Control.doorbell),
    alive: () => void Atomics.add(control, Control.turns, 1),
    moderation: new Moderation(counters),
    messages: start.messages,
  }
  const offloads: Offloads = {
    tunTcp: tun.tcpSegments,
    tunUdp: tun.udpSegments,
    segmentation: socket.segmentation,
    coalescing: socket.coalescing,
  }
  parent.postMessage({ type: 'ready', offloads } satisfies WorkerReady)
  carry(loop, start.table)
}

interface Loop {
  readonly ingress: Ingress
  readonly egress: Egress
  /** The tun, the socket, the event. */
  readonly idle: PollSet
  /** Takes the event back to zero. */
  readonly silence: () => void
  readonly doorbell: () => number
  /** To be called again and again: the engine replaces a worker that no longer does. */
  readonly alive: () => void
  readonly moderation: Moderation
  readonly messages: MessagePort
}

/** Both directions in turn while there is work, else waits. Returns when asked to stop; throws when the tun is gone. */
function carry(loop: Loop, firstTable: SharedArrayBuffer): void {
  const { ingress, egress, idle, silence, doorbell, alive, messages, moderation } = loop
  let table = new PeerTable(firstTable)
  let seen = 0
  let tunReady = true
  let socketReady = true
  for (;;) {
    alive()
    const rung = doorbell()
    if (rung !== seen) {
      seen = rung
      for (let next = receiveMessageOnPort(messages); next; next = receiveMessageOnPort(messages)) {
        const message: WorkerMessage = next.message
        if (message.type === 'stop') return
        table = new PeerTable(message.table)
      }
    }
    if (socketReady) {
      const received = ingress.turn(table, throwIfGone)
      if (received === EBADF) throw new Error('the socket was closed')
      socketReady = received > 0
      if (moderation.shouldYield()) rest(REST_US)
    }
    if (tunReady) {
      const read = egress.turn(table)
      throwIfGone(read)
      tunReady = read > 0
    }
    if (tunReady || socketReady) {
      // While one side is busy, looking at the other is as cheap as asking whether to look.
      tunReady = true
      socketReady = true
    } else if (moderation.isCrowded()) {
      rest(REST_US)
      tunReady = true
      socketReady = true
    } else {
      idle.wait(POLL_MS, POLLIN)
      tunReady = idle.happened(0)
      socketReady = idle.happened(1)
      if (idle.happened(2)) silence()
      moderation.waited()
    }
  }
}

// The device was deleted: this descriptor will never carry a packet again, a new worker makes the device anew.
function throwIfGone(errno: number): void {
  if (errno === EBADFD || errno === EFAULT || errno === EBADF) throw new Error('the tun device was deleted')
}

/** An array of struct pollfd. */
class PollSet {
  readonly offset: number
  readonly #memory: Memory
  readonly #count: number

  constructor(arena: Arena, descriptors: readonly number[]) {
    this.#memory = arena.memory
    this.#count = descriptors.length
    this.offset = arena.take(descriptors.length * 8)
    for (const [index, fd] of descriptors.entries()) this.#memory.words[(this.offset >>> 2) + index * 2] = fd
  }

  /** `events` for all of them; 0: nothing but errors. */
  wait(timeoutMs: number, events: number): void {
    const { words } = this.#memory
    for (let index = 0; index < this.#count; index += 1) words[(this.offset >>> 2) + index * 2 + 1] = events
    const result = waitFor(this.#memory.address + this.offset, this.#count, timeoutMs)
    // EINTR and the time running out leave `revents` as it was, or zero.
    if (result < 0 && result !== EINTR) throw new Error(`poll failed with errno ${-result}`)
  }

  /** Readable, or an error that reading will show. */
  happened(index: number): boolean {
    return (this.#memory.words[(this.offset >>> 2) + index * 2 + 1] ?? 0) >>> 16 !== 0
  }
}

// Loaded by anything but `new Worker`, the file does nothing.
if (!isMainThread && parentPort !== null) {
  optimise()
  run(workerData as WorkerStart, parentPort)
}

// Stands in for worker.ts: opens nothing, tells the test what it hears, dies of a table whose own
// address is 6.6.6.x, and does nothing more after one of 7.7.7.x.
import { appendFileSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'

const { device, table, messages, shared } = workerData
// The test names the file to write to in the place of the device.
const say = (what) => appendFileSync(device, `${what}\n`)
const ownOf = (buffer) => new Int32Array(buffer)[0] >>> 0
new Float64Array(shared, 64)[0] += 1
const turns = new Int32Array(shared)
const beat = () => Atomics.add(turns, 4, 1)
say(`start ${ownOf(table).toString(16)}`)
if (ownOf(table) === 0x01010101) {
  parentPort.postMessage({ type: 'failed', what: 'tun', errno: -16 })
} else {
  parentPort.postMessage({
    type: 'ready',
    offloads: { tunTcp: true, tunUdp: false, segmentation: true, coalescing: true },
  })
  setInterval(beat, 5).unref()
  messages.on('message', (message) => {
    say(message.type === 'table' ? `table ${ownOf(message.table).toString(16)}` : 'stop')
    if (message.type === 'stop') messages.close()
    else if (ownOf(message.table) >>> 8 === 0x060606) throw new Error('killed by the test')
    else if (ownOf(message.table) >>> 8 === 0x070707) for (;;);
  })
}

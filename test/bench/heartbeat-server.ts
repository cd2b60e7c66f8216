// node --import tsx test/bench/heartbeat-server.ts ADDRESS PORT NODES PER_MINUTE: an API server whose Nodes begin to send heartbeats at SIGUSR1,
// and end it at SIGUSR2. How many were sent goes to standard output.
import process from 'node:process'
import { ApiSimulator, sendJson } from '../subnet/kube/api-simulator.ts'
import { foreignNode, OWN_SUBNET } from './one-node.ts'

/** Images that a kubelet lists at most, unless told otherwise. */
const IMAGES = 50
const TICK_MS = 20

const [address = '', port = '', count = '', perMinute = ''] = process.argv.slice(2)
const kind = { kind: 'Node', apiVersion: 'v1' }

/** As a kubelet writes it, 12 kB; the times are what a heartbeat changes. */
function statusAt(time: string): object {
  const types = ['MemoryPressure', 'DiskPressure', 'PIDPressure', 'Ready', 'NetworkUnavailable']
  const resources = { cpu: '4', memory: '16393244Ki', pods: '110', 'ephemeral-storage': '101430960Ki' }
  return {
    capacity: resources,
    allocatable: resources,
    conditions: types.map((type) => ({
      type,
      status: type === 'Ready' ? 'True' : 'False',
      lastHeartbeatTime: time,
      lastTransitionTime: '2026-01-01T00:00:00Z',
      reason: `KubeletHasNo${type}`,
      message: `kubelet has no ${type}`,
    })),
    addresses: [{ type: 'InternalIP', address: '192.0.2.1' }],
    nodeInfo: {
      machineID: 'a'.repeat(32),
      kernelVersion: '6.1.0',
      osImage: 'Debian GNU/Linux 12',
      architecture: 'amd64',
    },
    images: Array.from({ length: IMAGES }, (_unused, n) => ({
      names: [`registry.example.com/team/app-${n}@sha256:${'ab'.repeat(32)}`, `registry.example.com/team/app-${n}:v1`],
      sizeBytes: 100_000_000 + n,
    })),
  }
}

const api = new ApiSimulator()
// flannel's client asks for a list by way of a watch first, and takes no for an answer.
api.fault = ({ url = '' }, response) => {
  if (!url.includes('sendInitialEvents')) return false
  const no = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', reason: 'Invalid', code: 422 }
  sendJson(response, 422, no)
  return true
}
const nodes = Array.from({ length: Number(count) }, (_unused, n) => ({ ...kind, ...foreignNode(n) }))
const first = statusAt(new Date().toISOString())
for (const node of nodes) api.put({ ...node, status: first })
api.put({
  ...kind,
  metadata: { name: 'h1', annotations: { bench: 'yes' } },
  spec: { podCIDR: OWN_SUBNET },
  status: first,
})
await api.start(address, Number(port))

let [began, sent] = [0, 0]
process.on('SIGUSR1', () => {
  ;[began, sent] = [performance.now(), 0]
})
process.on('SIGUSR2', () => {
  began = 0
  process.stdout.write(`${sent} sent\n`)
})
setInterval(() => {
  if (began === 0) return
  const due = ((performance.now() - began) / 60_000) * Number(perMinute)
  const status = statusAt(new Date().toISOString())
  for (; sent < due; sent += 1) api.beat(nodes[sent % nodes.length] ?? { metadata: { name: '' } }, status)
}, TICK_MS)

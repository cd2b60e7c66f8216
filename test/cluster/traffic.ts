import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Cluster } from '../../lab/cluster/cluster.ts'
import type { Pod } from '../../lab/cluster/pod.ts'
import { until } from '../until.ts'
import { ask, startPods } from './world.ts'

/** A pod on each node, for what goes on between nodes. */
export async function startPair(cluster: Cluster): Promise<readonly [Pod, Pod]> {
  const [left, right] = await startPods(cluster, [
    { name: 'left', node: 'n1' },
    { name: 'right', node: 'n2' },
  ])
  assert.ok(left && right)
  return [left, right]
}

/** Pings and streams both ways, by each address that both have; no address is changed on the way. */
export async function reachEachOther(cluster: Cluster, [a, b]: readonly [Pod, Pod]): Promise<void> {
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    for (const [index, address] of to.addresses.entries()) {
      // An IPv6 address of a new bridge or pod is of use when the kernel has looked for another one of it.
      await until(10_000, `${from.name} reaches ${address}`, async () =>
        assert.equal((await from.ping(address, { count: 1 })).received, 1),
      )
      const { sent, received } = await from.ping(address, { interval: 50 })
      assert.equal(received, sent, `${from.name} pings ${to.name} at ${address}`)
      assert.deepEqual(await ask(from, address), { client: from.addresses[index], pod: to.name })
    }
  }
  for (const address of b.addresses) await stream(cluster, [a, b], address)
}

/** TCP both ways at once. */
export async function stream(cluster: Cluster, [a, b]: readonly [Pod, Pod], address = b.address): Promise<void> {
  const log = join(cluster.lab.folder, 'iperf.log')
  const server = await b.start(['iperf3', '--server'], { log })
  try {
    // Now and then iperf3 ends well without having measured anything.
    await until(20_000, 'iperf3 has sent both ways', async () => {
      const { stdout } = await a.exec(['iperf3', '--json', '--bidir', '--time', '1', '--client', address])
      const { end } = JSON.parse(stdout)
      for (const sum of [end.sum_received, end.sum_received_bidir_reverse])
        assert.ok(sum?.bytes > 10_000_000, stdout.slice(-500))
    })
  } finally {
    await server.stop()
  }
}

const echoPort = 9001
const answerPort = 9002

/**
 * Runs `work` while two pods ping each other 250 times a second, the first one has a connection to the outside open, and begins
 * another one all the time. Nothing may be lost, the open one goes on, and none of the new ones fails, unless `failing`.
 */
export async function undisturbed(
  cluster: Cluster,
  [a, b]: readonly [Pod, Pod],
  work: () => Promise<void>,
  failing = false,
): Promise<void> {
  const { controlPlane, folder } = cluster.lab
  const file = (name: string) => join(folder, `${name}-${Date.now()}`)
  const [lasting, fresh] = [file('lasting'), file('fresh')]
  const outside = `192.0.2.10`
  const quiet = { log: join(folder, 'outside.log') }
  const listeners = [
    await controlPlane.start(['busybox', 'nc', '-ll', '-p', String(echoPort), '-e', 'cat'], quiet),
    await controlPlane.start(['busybox', 'nc', '-ll', '-p', String(answerPort), '-e', 'echo', 'good'], quiet),
  ]
  // From the first listener to the first answer; what fails before that is no failure of the network.
  await until(10_000, 'the outside listens', async () => {
    await a.exec(['busybox', 'nc', '-w', '1', outside, String(answerPort)])
  })
  const beat = 'while :; do echo beat; sleep 0.1; done'
  const ask = `while :; do busybox nc -w 2 ${outside} ${answerPort} || echo failed; sleep 0.05; done`
  const clients = [
    await a.start(['sh', '-c', `(${beat}) | busybox nc ${outside} ${echoPort}`], { log: lasting }),
    await a.start(['sh', '-c', ask], { log: fresh }),
  ]
  const judges = [a.startPing(b.address, 10), b.startPing(a.address, 10)]
  try {
    await Promise.all(judges.map((judge) => judge.answered(AbortSignal.timeout(10_000))))
    await work()
    // However soon the work is done.
    await until(10_000, 'enough was sent', async () => {
      for (const judge of judges) assert.ok(judge.verdict().sent > 500, `only ${judge.verdict().sent} sent`)
      const answers = (await readFile(fresh, 'utf8')).split('\n').length
      assert.ok(answers > 20, `only ${answers} connections`)
    })
    const beats = (await readFile(lasting, 'utf8')).length
    await until(10_000, 'the open connection goes on', async () =>
      assert.ok((await readFile(lasting, 'utf8')).length > beats, 'no more comes back'),
    )
  } finally {
    await Promise.all(judges.map((judge) => judge.stop()))
    // The clients first: nobody may ask a listener that has gone.
    await Promise.all(clients.map((program) => program.stop()))
    await Promise.all(listeners.map((program) => program.stop()))
  }
  for (const judge of judges) {
    const { sent, lost, longestGapMs } = judge.verdict()
    assert.equal(lost, 0, `${lost} of ${sent} lost, longest gap ${longestGapMs} ms`)
  }
  const answers = (await readFile(fresh, 'utf8')).trim().split('\n')
  if (!failing) assert.deepEqual([...new Set(answers)], ['good'])
}

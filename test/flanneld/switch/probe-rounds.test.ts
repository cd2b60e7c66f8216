import assert from 'node:assert/strict'
import type { ProbeRound } from '../../../flanneld/switch/probe-port.ts'
import { ProbeRounds, type ProbeTarget } from '../../../flanneld/switch/probe-rounds.ts'
import type { IpAddr } from '../../../lib/address.ts'
import { VirtualClock } from '../../fakes/clock.ts'

const tried: ProbeTarget = {
  id: 'peer',
  family: 4,
  from: '10.64.1.0' as IpAddr,
  to: '10.64.2.0' as IpAddr,
  bytes: 1450,
  way: 'B',
  by: 'tried',
  device: 'eth0',
  isMade: true,
}
const used: ProbeTarget = { ...tried, by: 'used' }

describe('rounds of probes', () => {
  it('prove nothing for another device than that which they went by', async () => {
    const clock = new VirtualClock()
    const send = async () => undefined
    const rounds = new ProbeRounds({ port: { send }, clock, random: () => 0, onResult: () => {} })
    const end = new AbortController()
    const running = rounds.run(end.signal)
    rounds.want([{ ...tried, device: 'flannel.1' }])
    await clock.advance(400)
    rounds.want([tried])
    assert.equal(rounds.verdict(tried), 'unproven')
    await clock.advance(700)
    assert.equal(rounds.verdict(tried), 'proven')
    end.abort()
    await running
  })

  it('are tried again later and later where a peer was moved in vain, which is said', async () => {
    const pauses: number[] = []
    for (let times = 1; times <= 7; times += 1) {
      answer = async (round) => (round.by === 'used' ? 'no probe is answered' : undefined)
      rounds.want([used])
      await clock.advance(10_000)
      assert.equal(rounds.verdict(used), 'failed')
      rounds.want([tried])
      assert.equal(rounds.why('peer', 4), `no probe is answered (moved in vain ${times} times)`)
      const began = clock.now()
      while (rounds.verdict(tried) !== 'proven') await clock.advance(5_000)
      pauses.push(Math.floor((clock.now() - began) / 30_000) * 30)
    }
    assert.deepEqual(pauses, [30, 60, 120, 240, 480, 600, 600])
  })

  it('take what cannot be sent for not answered', async () => {
    answer = async () => {
      throw new Error('there is no socket any more')
    }
    rounds.want([used])
    await clock.advance(10_000)
    assert.deepEqual([rounds.verdict(used), rounds.why('peer', 4)], ['failed', 'there is no socket any more'])
  })

  let clock: VirtualClock
  let stop: AbortController
  let rounds: ProbeRounds
  let sent: ProbeRound['by'][]
  let answer: (round: ProbeRound) => Promise<string | undefined>
  let ended: Promise<void>

  beforeEach(() => {
    clock = new VirtualClock()
    stop = new AbortController()
    sent = []
    answer = async () => undefined
    const port = {
      send: (round: ProbeRound) => {
        sent.push(round.by)
        return answer(round)
      },
    }
    rounds = new ProbeRounds({ port, clock, random: () => 0, onResult: () => {} })
    ended = rounds.run(stop.signal)
  })

  afterEach(async () => {
    stop.abort()
    await ended
  })

  it('ask nothing before the kernel has the route, and everything anew after it had lost that', async () => {
    rounds.want([{ ...used, isMade: false }])
    await clock.advance(60_000)
    assert.deepEqual([sent, rounds.verdict(tried)], [[], 'unproven'])
    rounds.want([used])
    await clock.advance(1_000)
    assert.deepEqual([sent, rounds.verdict(tried)], [['used'], 'confirmed'])
    rounds.want([{ ...used, isMade: false }])
    assert.equal(rounds.verdict(tried), 'unproven')
  })

  it('hear no answer to what was asked before the kernel lost the route', async () => {
    answer = async () => {
      await clock.sleep(400, stop.signal)
      return undefined
    }
    rounds.want([used])
    await clock.advance(100)
    rounds.want([{ ...used, isMade: false }])
    await clock.advance(1_000)
    assert.deepEqual([sent, rounds.verdict(tried)], [['used'], 'unproven'])
  })

  it('leave alone for half a minute who did not carry what it had promised, also while its route is made', async () => {
    answer = async () => 'no probe is answered'
    rounds.want([used])
    await clock.advance(2_000)
    assert.equal(rounds.verdict(tried), 'failed')
    rounds.want([{ ...tried, isMade: false }])
    rounds.want([tried])
    sent = []
    await clock.advance(29_000)
    assert.deepEqual([sent, rounds.why('peer', 4)], [[], 'no probe is answered (moved in vain 1 times)'])
    await clock.advance(2_000)
    assert.equal(sent[0], 'tried')
  })
  it('tell nothing about another way than the one that was asked for', async () => {
    rounds.want([tried])
    await clock.advance(1_000)
    assert.equal(rounds.verdict(tried), 'proven')
    assert.equal(rounds.verdict({ ...tried, way: 'C' }), 'unproven')
    rounds.want([{ ...tried, way: 'C' }])
    assert.deepEqual([rounds.verdict(tried), rounds.verdict({ ...tried, way: 'C' })], ['unproven', 'unproven'])
  })
})

import assert from 'node:assert/strict'
import { HealthRecord } from '../../subnet/health-record.ts'
import { VirtualClock } from '../fakes/clock.ts'

describe('the health of a lease store', () => {
  const listenTo = (health: HealthRecord) => {
    let told = 0
    const over = new AbortController()
    const listen = async () => {
      for await (const _ of health.source.watch(over.signal)) told += 1
    }
    listen().catch(() => {})
    return { told: () => told, end: () => over.abort() }
  }

  it('is told of once a second while events prove that all is well', async () => {
    const clock = new VirtualClock()
    const health = new HealthRecord({ clock })
    health.current('nodes', 'https://a')
    await clock.advance(1)
    const { told, end } = listenTo(health)
    await clock.advance(1)
    const before = told()
    for (let event = 0; event < 400; event += 1) {
      health.current('nodes', 'https://a')
      await clock.advance(10)
    }
    assert.ok(told() - before >= 3 && told() - before <= 5, `told ${told() - before} times in 4 s`)
    assert.ok(clock.wall() - (health.source.current?.lastSuccess ?? 0) <= 1_010)
    end()
  })

  it('is told of at once when it is had, or had back', async () => {
    const clock = new VirtualClock()
    const health = new HealthRecord({ clock })
    const isUp = () => health.source.current?.up
    health.current('nodes', 'https://a')
    assert.equal(isUp(), true)
    health.failed('nodes', 'away')
    assert.equal(isUp(), false)
    health.current('nodes', 'https://a')
    assert.equal(isUp(), true)
    health.current('nodes', 'https://b')
    assert.equal(health.source.current?.endpoint, 'https://b')
  })

  it('is had as soon as the last of its users has no fault', () => {
    const health = new HealthRecord({ clock: new VirtualClock() })
    health.failed('own node', 'forbidden')
    health.current('nodes', 'https://a')
    assert.equal(health.source.current?.up, false)
    health.forget('own node')
    health.current('nodes', 'https://a')
    assert.equal(health.source.current?.up, true)
  })
})

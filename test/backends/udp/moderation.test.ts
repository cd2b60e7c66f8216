import assert from 'node:assert/strict'
import { Moderation } from '../../../backends/udp/moderation.ts'
import { Counter, ProxyMemory } from '../../../backends/udp/proxy-memory.ts'

describe('moderation of the udp worker', () => {
  const setUp = () => {
    const { counters } = new ProxyMemory()
    const add = (counter: number, by: number) => {
      counters[counter] = (counters[counter] ?? 0) + by
    }
    return { moderation: new Moderation(counters), add }
  }

  it('lets packets come together while they come fast, and waits at once when they do not', () => {
    const { moderation, add } = setUp()
    assert.equal(moderation.isCrowded(), false)
    add(Counter.callsRead, 3)
    assert.equal(moderation.isCrowded(), false)
    add(Counter.callsRead, 4)
    assert.equal(moderation.isCrowded(), true)
    assert.equal(moderation.isCrowded(), false, 'nothing came meanwhile')
  })

  it('gives the processor away after many writes in a row', () => {
    const { moderation, add } = setUp()
    add(Counter.callsWrite, 127)
    assert.equal(moderation.shouldYield(), false)
    add(Counter.callsWrite, 1)
    assert.equal(moderation.shouldYield(), true)
    assert.equal(moderation.shouldYield(), false)
  })

  it('begins to count anew when the worker waited', () => {
    const { moderation, add } = setUp()
    add(Counter.callsWrite, 127)
    moderation.waited()
    add(Counter.callsWrite, 127)
    assert.equal(moderation.shouldYield(), false)
  })
})

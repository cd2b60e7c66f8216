import assert from 'node:assert/strict'
import { StoreAddresses } from '../../flanneld/host/store-addresses.ts'
import { VirtualClock } from '../fakes/clock.ts'

const forever = new AbortController().signal

function start(endpoints: readonly string[], resolve: (name: string) => Promise<readonly string[]>) {
  const clock = new VirtualClock()
  return { clock, store: new StoreAddresses({ clock, resolve }, { endpoints }) }
}

describe('the addresses of the store', () => {
  it('are those that are given, and those that names lead to', async () => {
    const names: Record<string, readonly string[]> = { 'etcd.example': ['10.5.9.9', 'fd00::9'], alias: ['10.5.9.9'] }
    const { store } = start(
      [
        'http://10.5.9.8:2379',
        '192.0.2.1',
        'https://[fd00::8]:2379',
        'https://etcd.example:2379',
        'alias:2379',
        'http://gone:1',
      ],
      async (name) => names[name] ?? Promise.reject(new Error('ENOTFOUND')),
    )
    assert.deepEqual(store.current, ['10.5.9.8', '192.0.2.1', 'fd00::8'])
    await store.first(forever)
    assert.deepEqual(store.current, ['10.5.9.8', '10.5.9.9', '192.0.2.1', 'fd00::8', 'fd00::9'])
  })

  it('are waited for no longer than a second', async () => {
    const { clock, store } = start(['etcd.example:2379'], () => new Promise(() => {}))
    const first = store.first(forever)
    await clock.advance(1_000)
    await first
    assert.deepEqual(store.current, [])
  })

  it('follow a name that moves, and stay while nobody answers', async () => {
    let answer: readonly string[] | undefined = ['10.5.9.9']
    const { clock, store } = start(['etcd.example:2379'], async () => answer ?? Promise.reject(new Error('SERVFAIL')))
    await store.first(forever)
    const stop = new AbortController()
    const running = store.run(stop.signal)
    answer = undefined
    await clock.advance(60_000)
    assert.deepEqual(store.current, ['10.5.9.9'])
    answer = ['10.5.9.10']
    await clock.advance(60_000)
    assert.deepEqual(store.current, ['10.5.9.10'])
    stop.abort()
    await running
  })
})

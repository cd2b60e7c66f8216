import assert from 'node:assert/strict'
import { type Configuration, parseConfiguration, wayKey } from '../../../flanneld/node/configuration.ts'
import { following, obstacleOnTheWay } from '../../../flanneld/switch/follow.ts'
import { readWays, type WaysRecord, waysText } from '../../../flanneld/switch/record.ts'
import { silentLogger } from '../../../lib/log.ts'

const configuration = (fields: object, Backend: object) =>
  parseConfiguration(JSON.stringify({ Network: '10.64.0.0/16', ...fields, Backend }), 'the test')
const vxlan = configuration({}, { Type: 'vxlan' })
const hostGw = (fields: object) => configuration(fields, { Type: 'host-gw' })
const networks = ({ state, configurations }: WaysRecord) =>
  state.held.map(({ key }) => configurations.get(key)?.network.families.get(4)?.network)

describe('the ways of a node whose configuration changes', () => {
  const atRest = following(undefined, vxlan)

  it('are both there, in the larger network, when backend and network change at once', () => {
    const larger = hostGw({ Network: '10.64.0.0/12', EnableNFTables: true })
    const record = following(atRest, larger)
    assert.deepEqual(networks(record), ['10.64.0.0/12', '10.64.0.0/12'])
    assert.equal(record.configurations.get(wayKey(vxlan))?.network.nftables, true)
    assert.equal(following(record, larger), record)
  })

  it('stay when the network becomes larger half way, and after a restart then', () => {
    const record = following(following(atRest, hostGw({})), hostGw({ Network: '10.64.0.0/12' }))
    assert.deepEqual(networks(record), ['10.64.0.0/12', '10.64.0.0/12'])
    const again = readWays(waysText(record), silentLogger)
    assert.ok(again)
    assert.deepEqual(networks(again), ['10.64.0.0/16', '10.64.0.0/12'])
    assert.deepEqual(networks(following(again, hostGw({ Network: '10.64.0.0/12' }))), networks(record))
  })

  it('begin anew in a network that has nothing of the old one', () => {
    const elsewhere = hostGw({ Network: '10.80.0.0/16' })
    assert.deepEqual(networks(following(atRest, elsewhere)), ['10.80.0.0/16'])
  })

  describe('and was corrected', () => {
    const direct = hostGw({})
    const wrong = configuration({}, { Type: 'vxlan', GBP: true })
    const blocked = following(following(undefined, direct), wrong)
    const told: WaysRecord = {
      ...blocked,
      state: {
        ...blocked.state,
        held: blocked.state.held.map(({ key, isSent }) => ({ key, isAccepted: true, isSent })),
      },
    }
    const types = ({ state, configurations }: WaysRecord) =>
      state.held.map(({ key }) => {
        const { backend, config } = configurations.get(key) ?? assert.fail('a way without its configuration')
        return `${backend.type} ${JSON.stringify(backend.written(config))}`
      })
    const readAgain = (record: WaysRecord) => readWays(waysText(record), silentLogger) ?? assert.fail('no record')

    it('lose the one that nobody was told of, also after a restart', () => {
      for (const record of [blocked, readAgain(blocked)]) {
        const corrected = following(record, vxlan)
        assert.deepEqual(types(corrected), types(following(following(undefined, direct), vxlan)))
        assert.deepEqual([...corrected.configurations.keys()], [wayKey(direct), wayKey(vxlan)])
      }
    })

    it('keep what was told of, and wait for its end', () => {
      for (const record of [told, readAgain(told)]) assert.deepEqual(types(following(record, vxlan)), types(told))
    })

    const obstacles: readonly [string, WaysRecord | undefined, RegExp | undefined][] = [
      ['nothing is known', undefined, /GBP/],
      ['nobody was told of it', blocked, undefined],
      ['it was told of', told, /GBP/],
    ]
    for (const [title, record, expected] of obstacles) {
      it(`find in the last one the obstacle that it is: ${title}`, () => {
        const found = obstacleOnTheWay(record, { inUse: wrong, next: vxlan })
        if (expected === undefined) assert.equal(found, undefined)
        else assert.match(found ?? '', expected)
      })
    }

    it('find the obstacle in the older one that was told of', () => {
      const ipip = configuration({}, { Type: 'ipip' })
      const alloc = configuration({}, { Type: 'alloc' })
      const record = following(following(undefined, direct), ipip)
      const between = (next: Configuration) => obstacleOnTheWay(record, { inUse: ipip, next })
      assert.equal(between(configuration({}, { Type: 'udp' })), undefined)
      assert.match(between(alloc) ?? '', /alloc/)
    })

    it('find the obstacle in the one that the node still has, where nothing is in the way of the one in use', () => {
      const record = following(undefined, vxlan)
      const other = configuration({}, { Type: 'vxlan', GBP: true })
      assert.match(obstacleOnTheWay(record, { inUse: direct, next: other }) ?? '', /GBP/)
    })
  })

  it('are that of the other engine of udp at once, unless another one is still left', () => {
    const engine = (Engine: string) => configuration({}, { Type: 'udp', Engine })
    const [userspace, kernel] = [engine('userspace'), engine('kernel')]
    assert.equal(obstacleOnTheWay(undefined, { inUse: userspace, next: kernel }), undefined)
    const keysIn = ({ state }: WaysRecord) => state.held.map(({ key }) => key)
    assert.deepEqual(keysIn(following(following(undefined, userspace), kernel)), [wayKey(kernel)])
    const between = following(following(undefined, hostGw({})), userspace)
    const told = between.state.held.map(({ key, isAccepted, isSent }) => ({ key, isAccepted, isSent }))
    const changing = { ...between, state: { ...between.state, held: told } }
    assert.deepEqual(keysIn(following(changing, kernel)), [wayKey(hostGw({})), wayKey(userspace)])
  })

  it('are on record with what a start has that cannot have the other engine: the first one, whatever comes after it', () => {
    const engine = (Engine: string) => configuration({}, { Type: 'udp', Engine })
    const [userspace, kernel] = [engine('userspace'), engine('kernel')]
    const record = following(following(undefined, userspace), kernel)
    const again = readWays(waysText(record), silentLogger)
    assert.equal(again?.instead?.text, userspace.text)
    for (const last of [record, again]) {
      assert.equal(following(last, { ...kernel, origin: 'elsewhere' }).instead?.text, userspace.text)
      const back = following(last, userspace)
      assert.deepEqual([[...back.configurations.keys()], back.instead], [[wayKey(userspace)], undefined])
      const elsewhere = following(last, vxlan)
      assert.deepEqual([...elsewhere.configurations.keys()], [wayKey(userspace), wayKey(vxlan)])
    }
  })

  it('are on record with who was moved, node by node', () => {
    const record = following(atRest, hostGw({}))
    const pins = new Map([['10.64.2.0-24', { node: 'one', ways: new Map([[4 as const, wayKey(vxlan)]]) }]])
    const again = readWays(waysText({ ...record, state: { ...record.state, pins } }), silentLogger)
    assert.deepEqual(again?.state, { ...record.state, pins })
  })

  it('are on record with whether somebody else assigns subnets', () => {
    const text = '{"Network":"10.64.0.0/24","SubnetLen":20,"Backend":{"Type":"vxlan"}}'
    const assigned = parseConfiguration(text, 'the test', 'assigned')
    const again = readWays(waysText(following(undefined, assigned)), silentLogger)
    assert.equal(again?.configurations.get(wayKey(assigned))?.subnets, 'assigned')
  })
})

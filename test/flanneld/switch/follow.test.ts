import assert from 'node:assert/strict'
import { parseConfiguration, wayKey } from '../../../flanneld/node/configuration.ts'
import { following } from '../../../flanneld/switch/follow.ts'
import { readWays, type WaysRecord, waysText } from '../../../flanneld/switch/record.ts'
import { silentLogger } from '../../../lib/log.ts'

const live = { changesLive: true }
const configuration = (fields: object, Backend: object) =>
  parseConfiguration(JSON.stringify({ Network: '10.64.0.0/16', ...fields, Backend }), 'the test')
const vxlan = configuration({}, { Type: 'vxlan' })
const hostGw = (fields: object) => configuration(fields, { Type: 'host-gw' })
const networks = ({ state, configurations }: WaysRecord) =>
  state.held.map(({ key }) => configurations.get(key)?.network.families.get(4)?.network)

describe('the ways of a node whose configuration changes', () => {
  const atRest = following(undefined, vxlan, live)

  it('are both there, in the larger network, when backend and network change at once', () => {
    const larger = hostGw({ Network: '10.64.0.0/12', EnableNFTables: true })
    const record = following(atRest, larger, live)
    assert.deepEqual(networks(record), ['10.64.0.0/12', '10.64.0.0/12'])
    assert.equal(record.configurations.get(wayKey(vxlan))?.network.nftables, true)
    assert.equal(following(record, larger, live), record)
  })

  it('stay when the network becomes larger half way, and after a restart then', () => {
    const record = following(following(atRest, hostGw({}), live), hostGw({ Network: '10.64.0.0/12' }), live)
    assert.deepEqual(networks(record), ['10.64.0.0/12', '10.64.0.0/12'])
    const again = readWays(waysText(record), silentLogger)
    assert.ok(again)
    assert.deepEqual(networks(again), ['10.64.0.0/16', '10.64.0.0/12'])
    assert.deepEqual(networks(following(again, hostGw({ Network: '10.64.0.0/12' }), live)), networks(record))
  })

  it('begin anew in a network that has nothing of the old one', () => {
    const elsewhere = hostGw({ Network: '10.80.0.0/16' })
    assert.deepEqual(networks(following(atRest, elsewhere, live)), ['10.80.0.0/16'])
  })

  it('are on record with whether somebody else assigns subnets', () => {
    const text = '{"Network":"10.64.0.0/24","SubnetLen":20,"Backend":{"Type":"vxlan"}}'
    const assigned = parseConfiguration(text, 'the test', 'assigned')
    const again = readWays(waysText(following(undefined, assigned, live)), silentLogger)
    assert.equal(again?.configurations.get(wayKey(assigned))?.subnets, 'assigned')
  })
})

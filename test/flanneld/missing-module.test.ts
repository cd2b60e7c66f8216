import assert from 'node:assert/strict'
import { missingRequirement } from '../../flanneld/status/node-conditions.ts'
import type { DesiredObject } from '../../kernel/objects.ts'
import { ConfigError } from '../../lib/errors.ts'
import type { Fault } from '../fakes/kernel.ts'
import * as the from '../kernel/fixtures.ts'

describe('a missing kernel module', () => {
  let rig: the.Rig

  beforeEach(() => {
    rig = the.rig()
  })
  afterEach(() => rig.reconciler.stop())

  async function verdict(
    fault: Fault | undefined,
    objects: readonly DesiredObject[],
  ): Promise<ConfigError | undefined> {
    rig.kernel.fault = ({ kind, verb }) => (kind === 'link' && verb === 'create' ? fault : undefined)
    await rig.want(the.desiredOf(objects))
    return missingRequirement(rig.reconciler.failures())
  }

  it('is named with its remedy, as an error of the configuration', async () => {
    const missing = await verdict({ code: 'EOPNOTSUPP' }, the.local())
    assert(missing instanceof ConfigError)
    assert.match(missing.message, /^Backend\.Type: needs the kernel module vxlan; .*'modprobe vxlan'/)
  })

  it('is still named while the device waits for another try', async () => {
    await verdict({ code: 'EOPNOTSUPP' }, the.local())
    const missing = await verdict({ code: 'EOPNOTSUPP' }, [...the.local(), ...the.peer(2)])
    assert.match(missing?.message ?? '', /kernel module vxlan/)
  })

  it('is not the reason of another refusal', async () => {
    assert.equal(await verdict({ code: 'EPERM' }, the.local()), undefined)
  })

  it('does not end the start for what is not required', async () => {
    const device: DesiredObject = { ...the.vxlan(), role: { class: 'advisory', remedy: '' } }
    assert.equal(await verdict({ code: 'EOPNOTSUPP' }, [device]), undefined)
  })

  it('is not missed where all is in place', async () => {
    assert.equal(await verdict(undefined, the.local()), undefined)
  })
})

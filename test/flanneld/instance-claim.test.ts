import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DiskWrites } from '../../flanneld/state/disk-writes.ts'
import { InstanceClaim } from '../../flanneld/state/instance-claim.ts'
import { ConditionSet } from '../../flanneld/status/status.ts'
import type { OwnershipScope } from '../../kernel/desired.ts'
import type { Cidr } from '../../lib/address.ts'
import { systemClock } from '../../lib/clock.ts'
import { PermissionError } from '../../lib/errors.ts'

const uses = (network: string, ...devices: string[]): OwnershipScope => ({
  devices: new Set(devices),
  networks: [{ network: network as Cidr, subnetLen: 24 }],
})

describe('the claim of an instance', () => {
  let root: string

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'claim-'))
  })
  afterEach(() => rmSync(root, { recursive: true }))

  /** Empty name: the default instance. */
  const instance = (name: string) => {
    const stateDir = name === '' ? root : join(root, name)
    mkdirSync(stateDir, { recursive: true })
    const conditions = new ConditionSet({ clock: systemClock })
    const writes = new DiskWrites({ conditions, clock: systemClock, isStarting: () => true })
    return new InstanceClaim(
      { writes, clock: systemClock, signal: AbortSignal.timeout(5_000) },
      {
        instance: { name, stateDir, statusSocket: undefined },
        pid: 7,
        etcdPrefix: `/prefix/${name}`,
        subnetFile: '/run/subnet.env',
      },
    )
  }

  const conflicts: readonly [what: string, mine: OwnershipScope, says: RegExp][] = [
    ['the same network', uses('10.5.0.0/16', 'flannel.2'), /^Network: must not overlap 10\.5\.0\.0\/16/],
    ['a larger network', uses('10.4.0.0/15', 'flannel.2'), /^Network: must not overlap 10\.5\.0\.0\/16/],
    ['a part of the network', uses('10.5.128.0/17', 'flannel.2'), /^Network: .*got "10\.5\.128\.0\/17"/],
    ['the same device', uses('10.6.0.0/16', 'flannel.1'), /^Backend: would share the device .*got "flannel\.1"/],
  ]
  for (const [what, mine, says] of conflicts) {
    for (const [first, second] of [
      ['', '0123abcd'],
      ['0123abcd', ''],
      ['0123abcd', '4567abcd'],
    ] as const) {
      it(`on ${what} is refused while ${first || 'the default one'} has it and ${second || 'the default one'} comes`, async () => {
        await instance(first).make(uses('10.5.0.0/16', 'flannel.1'))
        await assert.rejects(instance(second).make(mine), (cause: Error) => {
          assert.match(cause.message, says)
          assert.ok(cause.message.includes(`(pid 7, etcd prefix /prefix/${first}, subnet file /run/subnet.env)`))
          return true
        })
      })
    }
  }

  it('stands beside one of other things, and may be made again', async () => {
    await instance('').make(uses('10.5.0.0/16', 'flannel.1'))
    const other = instance('0123abcd')
    await other.make(uses('10.6.0.0/16', 'flannel.2'))
    await other.make(uses('10.7.0.0/16', 'flannel.3'))
  })

  it('that is refused is taken back: the one before it stands', async () => {
    await instance('').make(uses('10.5.0.0/16', 'flannel.1'))
    const other = instance('0123abcd')
    await other.make(uses('10.6.0.0/16', 'flannel.2'))
    await assert.rejects(other.make(uses('10.4.0.0/14', 'flannel.2', 'flannel.3')), /must not overlap/)
    const third = instance('4567abcd')
    assert.deepEqual(await third.make(uses('10.7.0.0/16', 'flannel.3')), [
      { ...uses('10.5.0.0/16', 'flannel.1'), fouPorts: new Set() },
      { ...uses('10.6.0.0/16', 'flannel.2'), fouPorts: new Set() },
    ])
  })

  it('tells what the others use', async () => {
    await instance('').make({ ...uses('10.5.0.0/16', 'flannel.1'), fouPorts: new Set([8285]) })
    const others = await instance('0123abcd').make(uses('10.6.0.0/16', 'flannel.2'))
    assert.deepEqual(others, [{ ...uses('10.5.0.0/16', 'flannel.1'), fouPorts: new Set([8285]) }])
  })

  it('is made again where its file was removed', async () => {
    const claim = instance('')
    await claim.make(uses('10.5.0.0/16', 'flannel.1'))
    rmSync(join(root, 'claim.json'))
    await claim.look()
    await assert.rejects(instance('0123abcd').make(uses('10.5.0.0/16', 'flannel.2')), /must not overlap/)
  })

  it('that gets shorter leaves nothing of what it said before', async () => {
    const claim = instance('')
    await claim.make(uses('10.5.0.0/16', 'flannel.1', 'flannel.11', 'flannel.111'))
    await claim.make(uses('10.5.0.0/16', 'flannel.1'))
    assert.equal((await instance('0123abcd').make(uses('10.6.0.0/16', 'flannel.2')))[0]?.devices.size, 1)
  })

  const inTheWay: Record<string, { put: (path: string) => void; text: RegExp }> = {
    'a symbolic link': {
      put: (path) => symlinkSync(join(root, 'elsewhere'), path),
      text: /is a symbolic link; remove it$/,
    },
    'a directory': { put: (path) => mkdirSync(path), text: /is no plain file; remove it$/ },
  }
  for (const [what, { put, text }] of Object.entries(inTheWay)) {
    it(`refuses ${what} in its place, with the remedy`, async () => {
      writeFileSync(join(root, 'elsewhere'), 'kept')
      const claim = instance('0123abcd')
      const path = join(root, '0123abcd', 'claim.json')
      put(path)
      await assert.rejects(claim.make(uses('10.5.0.0/16', 'flannel.1')), (cause: Error) => {
        assert.ok(cause instanceof PermissionError, cause.message)
        assert.ok(cause.message.includes(path))
        assert.match(cause.message, text)
        return true
      })
      assert.equal(readFileSync(join(root, 'elsewhere'), 'utf8'), 'kept')
    })
  }

  it('does not count when its process has ended, or when it cannot be read', async () => {
    mkdirSync(join(root, '4567abcd'))
    const claim = {
      version: 1,
      who: 'gone',
      devices: ['flannel.1'],
      networks: [{ network: '10.5.0.0/16', subnetLen: 24 }],
    }
    writeFileSync(join(root, '4567abcd', 'claim.json'), JSON.stringify(claim))
    mkdirSync(join(root, '89abcdef'))
    writeFileSync(join(root, '89abcdef', 'claim.json'), '{')
    await instance('0123abcd').make(uses('10.5.0.0/16', 'flannel.1'))
  })
})

import assert from 'node:assert/strict'
import { openKube } from '../../../flanneld/leases/kube-source.ts'
import { parseCommandLine } from '../../../flanneld/options/options.ts'
import { ConditionSet } from '../../../flanneld/status/status.ts'
import { systemClock } from '../../../lib/clock.ts'
import { silentLogger } from '../../../lib/log.ts'

describe('leases from the Kubernetes API', () => {
  const opened = async (env: Readonly<Record<string, string>>) => {
    const line = parseCommandLine(['--kube-subnet-mgr', '--kube-api-url=http://127.0.0.1:1'], {})
    assert.equal(line.command, 'daemon')
    const needs = {
      clock: systemClock,
      log: silentLogger,
      conditions: new ConditionSet({ clock: systemClock }),
      random: () => 0,
      env,
    }
    return await openKube(needs, 'options' in line ? line.options : assert.fail(), 'me')
  }

  it('are of the Node whose name is given, or of one that only the API can tell', async () => {
    assert.equal((await opened({ NODE_NAME: 'clone' })).leaseId, 'clone')
    assert.equal((await opened({ POD_NAME: 'p', POD_NAMESPACE: 'n' })).leaseId, undefined)
    await assert.rejects(opened({}), { name: 'ConfigError', path: 'NODE_NAME' })
  })
})

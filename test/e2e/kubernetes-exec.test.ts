import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import { Kubernetes } from './kubernetes-world.ts'
import { logsInFailure, oneSegment, ready, startDaemon, status, until, vxlan } from './world.ts'

const nodes = '/api/v1/nodes'
const apiVersion = 'client.authentication.k8s.io/v1'

/** Fault row 57, on the built daemon and a real API server. */
describe('a kubeconfig that names a program', function () {
  needs(this, 'netns', 'etcd', 'peer:kube-apiserver')
  this.timeout(120_000)
  let lab: Lab
  let host: Host
  let args: readonly string[]
  let program: string
  let token: string

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(1), etcd: false })
    const kubernetes = await Kubernetes.start(lab)
    host = lab.host('h1')
    const netConf = join(lab.folder, 'net-conf.json')
    await writeFile(netConf, JSON.stringify(vxlan))
    const document = JSON.parse(readFileSync(await kubernetes.daemonKubeconfig(), 'utf8'))
    program = join(lab.folder, 'login')
    token = document.users[0].user.token
    // An argument that a shell would run.
    document.users[0].user = {
      exec: { apiVersion, command: './login', args: [`$(touch ${program}.ran)`], interactiveMode: 'Never' },
    }
    const kubeconfig = join(lab.folder, 'exec-kubeconfig')
    await writeFile(kubeconfig, JSON.stringify(document), { mode: 0o600 })
    args = ['--kube-subnet-mgr', `--kubeconfig-file=${kubeconfig}`, `--net-config-path=${netConf}`]
    const spec = { podCIDR: '10.5.1.0/24', podCIDRs: ['10.5.1.0/24'] }
    await kubernetes.send(['POST', nodes, { metadata: { name: 'h1' }, spec }])
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await lab?.close()
  })

  const login = (text: string) => writeFileSync(program, `#!/bin/sh\necho run >> "$0.log"\n${text}\n`, { mode: 0o755 })
  const start = (...more: string[]) => startDaemon(host, { args: [...args, ...more], env: { NODE_NAME: 'h1' } })

  it('is refused, and nothing is run', async () => {
    login('true')
    const daemon = await start()
    await until(10_000, 'it has ended', async () => assert.equal(daemon.exit?.code, 78))
    assert.match(
      await daemon.logText(),
      /users\[0\]\.user\.exec: starts a program and is refused.*--allow-kubeconfig-exec/,
    )
    assert.throws(() => readFileSync(`${program}.log`))
  })

  it('works where that is allowed; one that fails is waited for and named without its secrets', async () => {
    login('echo "who are you, eyJhbGciOiJSUzI1NiIsImtpZCI6ImNhbmFyeQ?" >&2; exit 1')
    await start('--allow-kubeconfig-exec')
    await until(10_000, 'the failure is named', async () => {
      const { conditions } = await status(host)
      const found = conditions.find(({ code }: { code: string }) => code === 'datastore-down')
      assert.match(found?.text ?? '', /login of the kubeconfig ended with 1: who are you, \[redacted\]/)
    })
    const credential = { apiVersion, kind: 'ExecCredential', status: { token } }
    login(`echo '${JSON.stringify(credential)}'`)
    await ready(host, 30_000)
    const count = readFileSync(`${program}.log`, 'utf8').length
    await new Promise((resolve) => setTimeout(resolve, 3_000))
    assert.equal(readFileSync(`${program}.log`, 'utf8').length, count)
    assert.throws(() => readFileSync(`${program}.ran`))
    const log = (await host.daemon?.logText()) ?? ''
    assert.ok(!log.includes(token) && !log.includes('eyJhbGci'))
  })

  it('holds up no stop while it hangs, and does not outlive the daemon', async () => {
    await host.daemon?.stop()
    login('echo $$ > "$0.pid"; exec sleep 60')
    const daemon = await start('--allow-kubeconfig-exec')
    const pid = () => Number(readFileSync(`${program}.pid`, 'utf8'))
    await until(10_000, 'it hangs', async () => assert.ok(pid() > 0))
    const began = performance.now()
    await daemon.stop()
    const took = performance.now() - began
    // The daemon gives up all that is left after 4 s.
    assert.ok(took < 3_000, `the stop took ${took} ms`)
    assert.equal(daemon.exit?.code, 0)
    await until(2_000, 'it is dead', async () => assert.throws(() => process.kill(pid(), 0), { code: 'ESRCH' }))
  })
})

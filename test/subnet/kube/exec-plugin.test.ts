import assert from 'node:assert/strict'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../../lib/clock.ts'
import { apiAccess } from '../../../subnet/kube/access.ts'
import { KubeClient } from '../../../subnet/kube/client.ts'
import { ExecPlugin, type ExecSpec } from '../../../subnet/kube/exec-plugin.ts'
import { VirtualClock } from '../../fakes/clock.ts'
import { until } from '../../until.ts'
import { ApiSimulator, sendJson } from './api-simulator.ts'

const apiVersion = 'client.authentication.k8s.io/v1'
const env = { PATH: process.env['PATH'] ?? '' }
const never = new AbortController().signal

describe('a program of the kubeconfig that gives credentials', () => {
  let folder: string
  let program: string
  let clock: VirtualClock

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'kube-exec-'))
    program = join(folder, 'program')
    clock = new VirtualClock()
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  const script = (text: string) => writeFileSync(program, `#!/bin/sh\necho >> "$0.runs"\n${text}\n`, { mode: 0o755 })
  const runs = () => (existsSync(`${program}.runs`) ? readFileSync(`${program}.runs`, 'utf8').length : 0)
  const says = (status: object, more: object = {}) =>
    script(`cat <<'END'\n${JSON.stringify({ apiVersion, kind: 'ExecCredential', status, ...more })}\nEND`)
  const plugin = (more: Partial<ExecSpec> = {}, timeoutMs?: number) => {
    const spec = { apiVersion, command: program, args: [], env: {}, hint: '', ...more }
    return new ExecPlugin({ clock, env }, { spec, ...(timeoutMs && { timeoutMs }) })
  }
  const fails = async (why: RegExp, more: Partial<ExecSpec> = {}, timeoutMs?: number) => {
    const failing = plugin(more, timeoutMs).credentials(never)
    await assert.rejects(failing, (cause: Error) => {
      assert.equal(cause.name, 'ApiUnavailable')
      assert.match(cause.message, why)
      assert.doesNotMatch(cause.message, /canary/)
      return true
    })
  }

  it('is run once for a token without an end, however many ask at once', async () => {
    says({ token: 'canary' })
    const one = plugin()
    const [a, b] = await Promise.all([one.credentials(never), one.credentials(never)])
    assert.deepEqual([a.token?.reveal(), b.token?.reveal()], ['canary', 'canary'])
    await clock.advance(86_400_000)
    await one.credentials(never)
    assert.equal(runs(), 1)
    assert.doesNotMatch(JSON.stringify(a), /canary/)
  })

  it('is killed as soon as nobody waits for it any more', async () => {
    script('echo $$ > "$0.pid"; exec sleep 60')
    const pid = () => Number(readFileSync(`${program}.pid`, 'utf8'))
    const one = plugin()
    const [first, second] = [new AbortController(), new AbortController()]
    const waits = [first, second].map(({ signal }) => one.credentials(signal))
    await until(5_000, 'it runs', async () => assert.ok(pid() > 0))
    first.abort(new Error('first is gone'))
    await assert.rejects(waits[0] as Promise<unknown>, /first is gone/)
    process.kill(pid(), 0)
    second.abort(new Error('second is gone'))
    await assert.rejects(waits[1] as Promise<unknown>, /second is gone/)
    await until(5_000, 'it is dead', async () => assert.throws(() => process.kill(pid(), 0), { code: 'ESRCH' }))
    says({ token: 'next' })
    assert.equal((await one.credentials(never)).token?.reveal(), 'next')
  })

  it('is run again shortly before the end of what it gave', async () => {
    says({ token: 'a', expirationTimestamp: new Date(clock.wall() + 60_000).toISOString() })
    const one = plugin()
    await one.credentials(never)
    await clock.advance(49_000)
    await one.credentials(never)
    assert.equal(runs(), 1)
    await clock.advance(2_000)
    await one.credentials(never)
    assert.equal(runs(), 2)
  })

  it('is run again for what was refused, and not for what it has just given', async () => {
    says({ token: 'a' })
    const one = plugin()
    await one.credentials(never)
    one.refused()
    await one.credentials(never)
    assert.equal(runs(), 1)
    await clock.advance(10_000)
    one.refused()
    await one.credentials(never)
    assert.equal(runs(), 2)
  })

  it('gives a certificate with its key', async () => {
    says({ clientCertificateData: 'CERT', clientKeyData: 'KEY' })
    const { cert, key, token } = await plugin().credentials(never)
    assert.deepEqual([cert, key?.reveal(), token], ['CERT', 'KEY', undefined])
  })

  it('gets its arguments as they are, its variables, what it may know, and no input', async () => {
    script(`printf '%s|' "$@" "$WORD" > "$0.told"; echo "$KUBERNETES_EXEC_INFO" >> "$0.told"; cat >> "$0.told"
      echo '{"apiVersion":"${apiVersion}","kind":"ExecCredential","status":{"token":"x"}}'`)
    const args = ['$(touch /never)', '; false', '`id`', 'a b']
    await plugin({ args, env: { WORD: '$HOME' }, cluster: { server: 'https://a' } }).credentials(never)
    const [told, info] = readFileSync(`${program}.told`, 'utf8').split('|{')
    assert.equal(told, [...args, '$HOME'].join('|'))
    assert.deepEqual(JSON.parse(`{${info}`), {
      apiVersion,
      kind: 'ExecCredential',
      spec: { interactive: false, cluster: { server: 'https://a' } },
    })
  })

  it('is killed when it hangs', async () => {
    script('exec sleep 60')
    await fails(/did not end within 0\.2 s and was killed/, {}, 200)
  })

  const broken: readonly (readonly [string, () => void, RegExp])[] = [
    [
      'fails',
      () => script('echo "no login eyJcanaryeyJcanaryeyJcanary" >&2; exit 3'),
      /ended with 3: no login \[redact/,
    ],
    [
      'is told a secret and says it',
      () => script('echo "no $WORD for $2" >&2; exit 3'),
      /no \[redacted\] for \[redacted\]/,
    ],
    ['prints a text', () => script(`echo '"canary"'`), /the document: must be a JSON object$/],
    [
      'gives a text for a status',
      () => script(`echo '{"apiVersion":"${apiVersion}","kind":"ExecCredential","status":"canary"}'`),
      /status: must be a JSON object$/,
    ],
    ['gives a list', () => says({ token: ['canary'] }), /token: must be a string$/],
    ['prints no JSON', () => script('echo canary'), /it is no JSON/],
    ['prints nothing', () => script(''), /it is no JSON/],
    ['prints without an end', () => script('yes canary'), /more than 1048576 bytes/],
    ['answers for another version', () => says({ token: 'canary' }, { apiVersion: 'x' }), /apiVersion: must be/],
    ['answers with something else', () => says({ token: 'canary' }, { kind: 'Pod' }), /kind: must be/],
    ['gives nothing', () => says({}), /must have a token/],
    ['gives a key without its certificate', () => says({ clientKeyData: 'canary' }), /must have a token, or/],
    ['gives a number', () => says({ token: 7 }), /token: must be a string$/],
    ['tells no time', () => says({ token: 'canary', expirationTimestamp: 'soon' }), /must be a time/],
    ['may not be run', () => writeFileSync(program, '', { mode: 0o600 }), /may not be executed/],
  ]
  for (const [what, prepare, why] of broken) {
    it(`is named when it ${what}`, async () => {
      prepare()
      await fails(why, { env: { WORD: 'canary-variable' }, args: ['--password', 'canary-argument'] })
    })
  }

  it('is named with the hint of the kubeconfig when it is not there', async () => {
    await fails(/gone of the kubeconfig is not installed \(get it from x\)/, {
      command: join(folder, 'gone'),
      hint: 'get it from x',
    })
  })

  describe('in a kubeconfig', () => {
    let file: string
    beforeEach(() => {
      file = join(folder, 'config')
      says({ token: 'word' })
    })
    const read = async (exec: string, options: { url?: string; allowExec?: boolean } = {}) => {
      const { url = 'https://192.0.2.1', allowExec = true } = options
      writeFileSync(
        file,
        `{current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
        clusters: [{name: c, cluster: {server: "${url}"}}], users: [{name: u, user: ${exec}}]}`,
        { mode: 0o600 },
      )
      return await apiAccess({
        apiUrl: '',
        kubeconfigFile: file,
        serviceHost: undefined,
        servicePort: undefined,
        allowExec,
      })
    }
    const good = `{exec: {apiVersion: ${apiVersion}, command: ./program, interactiveMode: IfAvailable}}`

    it('stands beside it where its path is relative', async () => {
      assert.equal((await read(good)).exec?.command, program)
    })

    const refused: readonly (readonly [string, string, RegExp])[] = [
      ['another version', '{exec: {apiVersion: v9, command: a}}', /users\[0\]\.user\.exec\.apiVersion: must be client/],
      ['no command', `{exec: {apiVersion: ${apiVersion}}}`, /exec\.command: must name/],
      ['a terminal', good.replace('IfAvailable', 'Always'), /interactiveMode: must not be Always/],
      ['a wrong argument', good.replace('interactiveMode: IfAvailable', 'args: [1]'), /exec\.args: must be/],
      ['a wrong variable', good.replace('interactiveMode: IfAvailable', 'env: [{name: "a=b"}]'), /env\[0\]\.name/],
      ['auth-provider', '{auth-provider: {name: gcp}}', /auth-provider: is not supported/],
    ]
    const misplaced = [
      good.replace('interactiveMode: IfAvailable', 'env: {TOKEN: canary}'),
      good.replace('interactiveMode: IfAvailable', 'env: [TOKEN=canary]'),
      good.replace('interactiveMode: IfAvailable', 'env: [{name: TOKEN=canary}]'),
      good.replace('interactiveMode: IfAvailable', 'env: [{name: TOKEN, value: [canary]}]'),
      good.replace('interactiveMode: IfAvailable', 'args: --token=canary'),
      good.replace('interactiveMode: IfAvailable', 'args: [{token: canary}]'),
      '{exec: canary}',
    ]
    for (const exec of misplaced) {
      it(`is refused without the secret that stands at a wrong place: ${exec}`, async () => {
        await assert.rejects(
          read(exec),
          (cause: Error) => cause.name === 'ConfigError' && !/canary/.test(cause.message),
        )
      })
    }

    for (const [what, exec, why] of refused) {
      it(`is refused with ${what}`, async () => await assert.rejects(read(exec), { name: 'ConfigError', message: why }))
    }

    it('is refused unless allowed, and never when others could change what is run', async () => {
      await assert.rejects(read(good, { allowExec: false }), /starts a program and is refused/)
      chmodSync(program, 0o777)
      await assert.rejects(read(good), /program: must not be writable by others.*chmod go-w/)
      chmodSync(program, 0o755)
      await read(good)
      chmodSync(file, 0o620)
      await assert.rejects(read(good), /config: must not be writable by others/)
    })

    it('is asked again when the server refuses its token', async () => {
      const api = new ApiSimulator()
      await api.start()
      try {
        const access = await read(good, { url: api.url.href })
        const client = new KubeClient({ clock: systemClock, env }, { access })
        let refusals = 1
        api.fault = (_request, response) => {
          refusals -= 1
          if (refusals < 0) return false
          sendJson(response, 401, { message: 'Unauthorized' })
          return true
        }
        const permission = { resource: 'nodes', verb: 'list' } as const
        await client.ask({ method: 'GET', path: '/api/v1/nodes?limit=1', permission }, AbortSignal.timeout(5_000))
        client.giveUp()
        assert.deepEqual(
          api.requests.map(({ token }) => token),
          ['word', 'word'],
        )
      } finally {
        await api.close()
      }
    })
  })
})

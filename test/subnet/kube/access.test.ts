import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { accessWarnings, apiAccess, readMaterial } from '../../../subnet/kube/access.ts'

const document = (user: string, cluster = 'server: https://192.0.2.1:6443/base/') => `
apiVersion: v1
kind: Config
current-context: here
contexts:
- name: elsewhere
  context: { cluster: none, user: none }
- name: here
  context: { cluster: c, user: u }
clusters:
- name: c
  cluster:
    ${cluster}
users:
- name: u
  user:
    ${user}
`

describe('access to the API server', () => {
  let folder: string
  let file: string

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'kubeconfig-'))
    file = join(folder, 'config')
  })

  afterEach(() => rmSync(folder, { recursive: true }))

  async function read(text: string, apiUrl = '') {
    writeFileSync(file, text, { mode: 0o600 })
    return await apiAccess({ apiUrl, kubeconfigFile: file, serviceHost: undefined, servicePort: undefined })
  }

  it('is that of the current context, files beside the kubeconfig', async () => {
    writeFileSync(join(folder, 'token'), 'word\n')
    const ca = Buffer.from('CERT').toString('base64')
    const access = await read(
      document(
        'tokenFile: token\n    token: old',
        `server: https://192.0.2.1:6443\n    certificate-authority-data: ${ca}`,
      ),
    )
    assert.equal(access.server.href, 'https://192.0.2.1:6443/')
    assert.equal(await readMaterial(access.token), 'word\n')
    assert.equal(await readMaterial(access.ca), 'CERT')
    assert.equal(access.insecure, false)
  })

  it('may have what says nothing of a proxy or another user', async () => {
    const nobody = ['as: ""', 'as-groups: []', 'as-user-extra: {}', 'as-uid: null'].join('\n    ')
    const { token } = await read(document(`token: word\n    ${nobody}`, 'server: https://a\n    proxy-url: ""'))
    assert.equal(await readMaterial(token), 'word')
  })

  it('has its server replaced by --kube-api-url', async () => {
    const { server, token } = await read(document('token: word'), 'https://192.0.2.9')
    assert.equal(server.href, 'https://192.0.2.9/')
    assert.equal(await readMaterial(token), 'word')
  })

  it('is the service account of the pod', async () => {
    const options = { apiUrl: '', kubeconfigFile: undefined }
    const { server, token } = await apiAccess({ ...options, serviceHost: 'fd00::1', servicePort: '443' })
    assert.equal(server.href, 'https://[fd00::1]/')
    assert.deepEqual(token, { file: '/var/run/secrets/kubernetes.io/serviceaccount/token' })
    await assert.rejects(apiAccess({ ...options, serviceHost: undefined, servicePort: undefined }), /--kubeconfig-file/)
  })

  const refused: [string, string, RegExp][] = [
    ['exec', document('exec: { command: touch }'), /users\[0\]\.user\.exec: starts a program/],
    ['auth-provider', document('auth-provider: { name: gcp }'), /auth-provider: is not supported/],
    [
      'a proxy',
      document('token: x', 'server: https://a\n    proxy-url: http://me:hidden@192.0.2.3'),
      /^clusters\[0\]\.cluster\.proxy-url: is not supported: [^@]*$/,
    ],
    ['impersonation', document('token: x\n    as: admin'), /^users\[0\]\.user\.as: is not supported/],
    ['impersonation of a UID', document('token: x\n    as-uid: 7'), /user\.as-uid: is not supported/],
    ['impersonation of groups', document('token: x\n    as-groups: [a]'), /user\.as-groups: is not supported/],
    ['impersonation with more', document('token: x\n    as-user-extra: { a: [b] }'), /user\.as-user-extra: is not/],
    ['another scheme', document('token: x', 'server: ftp://a'), /clusters\[0\]\.cluster\.server: must be/],
    ['a missing context', document('token: x').replace('current-context: here', 'current-context: gone'), /contexts/],
    ['no YAML', 'a: [', /must be a kubeconfig, and is no YAML \(line 1, column 5\)/],
    ['a text', 'hello', /must be a JSON object/],
  ]
  for (const [what, text, why] of refused) {
    it(`refuses ${what}`, async () => await assert.rejects(read(text), { name: 'ConfigError', message: why }))
  }

  const misplaced: readonly string[] = [
    'hidden-word',
    document('token: x').replace(/users:[\s\S]*$/, 'users: { u: { token: hidden-word } }'),
    document('token: x').replace(/users:[\s\S]*$/, 'users: [{ name: u, user: hidden-word }]'),
    document('token: [hidden-word]'),
    document('password: { is: hidden-word }\n    username: a'),
    document('tokenFile: { is: hidden-word }'),
    document('token: *hidden-word'),
    document('token: !hidden-word x'),
    document('token: x', 'server: htps://me:hidden-word@192.0.2.1'),
    document('token: x', 'server: https://me:hidden-word@192.0.2.1'),
  ]
  for (const text of misplaced) {
    it(`is refused without the secret that stands at a wrong place: ${JSON.stringify(text.slice(-60).trim())}`, async () => {
      await assert.rejects(read(text), (cause: Error) => {
        assert.equal(cause.name, 'ConfigError')
        assert.doesNotMatch(cause.message, /hidden-word/)
        return true
      })
    })
  }

  it('is warned of where others could use or change it', async () => {
    const access = await read(document('token: x', 'server: http://192.0.2.1\n    insecure-skip-tls-verify: true'))
    assert.equal((await accessWarnings(access, file)).length, 2)
    rmSync(file)
    writeFileSync(file, '', { mode: 0o644 })
    assert.match((await accessWarnings(access, file)).at(-1) ?? '', /can be read by others/)
  })

  it('shows no secret', async () => {
    const access = await read(document('token: hidden-word'))
    assert.doesNotMatch(JSON.stringify(access), /hidden-word/)
  })
})

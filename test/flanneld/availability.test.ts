import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { firstUnavailable } from '../../flanneld/options/availability.ts'
import { FLAG_NAMES, optionKey } from '../../flanneld/options/option-table.ts'
import { type Environment, parseCommandLine } from '../../flanneld/options/options.ts'
import { flagReference } from './flag-reference.ts'

function run(words: string[], env: Environment = {}) {
  const line = parseCommandLine(words, env)
  if (!('options' in line)) throw new Error(`no options, but ${line.command}`)
  return line
}

/** Whether any value but its default is refused. */
function notAvailableYet(name: (typeof FLAG_NAMES)[number]): boolean {
  const options = { ...run([]).options, [optionKey(name)]: 'another value' }
  return firstUnavailable(options, new Map([[name, 'flag']])) !== undefined
}

describe('what is not there yet', () => {
  const unavailable = (...words: string[]) => {
    const { options, origins } = run(words)
    return firstUnavailable(options, origins)?.message
  }

  for (const word of ['--allow-extension']) {
    it(`is refused: ${word}`, () =>
      assert.match(unavailable(word) ?? '', new RegExp(`^${word.split('=')[0]}: not available yet`)))
  }

  for (const word of [
    '--drain=11',
    '--kube-subnet-mgr',
    '--kube-api-url=https://x',
    '--kubeconfig-file=/x',
    '--allow-kubeconfig-exec',
    '--kube-annotation-prefix=a.b/',
    '--net-config-path=/x',
    '--set-node-network-unavailable=false',
    '--ip-masq',
    '--ip-masq-fully-random-disable',
    '--iptables-resync=6',
    '--masq-exempt=10.0.0.0/8',
    '--drain=10',
    '--ingress-guard=off',
    '--ingress-guard=count',
    '--ingress-guard=on',
    '--guard-allow=10.0.0.0/8',
    '--iptables-forward-rules=false',
    '--iptables-forward-rules',
    '--ip-blackhole-route',
    '--etcd-require-tls',
    '--healthz-port=8080',
    '--protected-cidrs=10.96.0.0/12',
    '--cni-conf-file=/x.conflist',
  ]) {
    it(`is not claimed of ${word}`, () => assert.equal(unavailable(word), undefined))
  }

  it('is named after the variable that asked for it', () => {
    const { options, origins } = run([], { FLANNELD_ALLOW_EXTENSION: 'true' })
    assert.match(firstUnavailable(options, origins)?.message ?? '', /^FLANNELD_ALLOW_EXTENSION: not available yet/)
  })
})

describe('an option', () => {
  // A flag that nothing looks at would be ignored silently: then it belongs among those that are not there yet.
  it('that is available is read by some part of the daemon', () => {
    const folder = join(import.meta.dirname, '../../flanneld')
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))
    const source = files.map((name) => readFileSync(join(folder, name), 'utf8')).join('\n')
    const destructured = [...source.matchAll(/\{([^{}]*)\} = (?:this\.#)?options\b/g)].flatMap(
      ([, names = '']) => names.match(/\w+/g) ?? [],
    )
    const read = new Set([...destructured, ...[...source.matchAll(/options\.(\w+)/g)].map(([, name]) => name)])
    const unread = FLAG_NAMES.filter((name) => !notAvailableYet(name) && !read.has(optionKey(name)))
    assert.deepEqual(unread, [])
  })
})

describe('Documentation/configuration.md', () => {
  it('has the reference of all flags (UPDATE_DOCS=1 writes it)', () => {
    const path = join(import.meta.dirname, '../../Documentation/configuration.md')
    const text = readFileSync(path, 'utf8')
    const [begin, end] = ['<!-- flags begin -->\n', '\n<!-- flags end -->']
    const expected = text.replace(
      new RegExp(`${begin}[\\s\\S]*${end}`),
      () => `${begin}${flagReference(notAvailableYet)}${end}`,
    )
    assert.ok(text.includes(begin) && text.includes(end))
    if (process.env['UPDATE_DOCS'] === '1') writeFileSync(path, expected)
    else assert.equal(text, expected)
  })
})

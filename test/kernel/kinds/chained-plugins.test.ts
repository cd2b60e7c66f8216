import assert from 'node:assert/strict'
import fc from 'fast-check'
import { withChainedPlugins } from '../../../kernel/kinds/file/chained-plugins.ts'
import { compare, type StateFile } from '../../../kernel/objects.ts'

const istio = { type: 'istio-cni', log_level: 'info', kubernetes: { cni_bin_dir: '/opt/cni/bin' } }
const linkerd = { name: 'linkerd-cni', type: 'linkerd-cni', policy: { type: 'k8s' } }
const portmap = { type: 'portmap', capabilities: { portMappings: true } }

function conflist(mtu: number, ...chained: readonly unknown[]) {
  const bridge = { type: 'bridge', mtu, ipam: { type: 'host-local', ranges: [[{ subnet: '10.5.72.0/24' }]] } }
  return { cniVersion: '0.3.1', name: 'cbr0', plugins: [bridge, portmap, ...chained] }
}
const text = (value: unknown) => `${JSON.stringify(value, undefined, 2)}\n`
/** As istio-cni writes it: keys sorted, at every depth. */
const sorted = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(sorted)
    : typeof value === 'object' && value !== null
      ? Object.fromEntries(
          Object.entries(value)
            .sort(([a], [b]) => (a < b ? -1 : 1))
            .map(([key, item]) => [key, sorted(item)]),
        )
      : value

const wanted: StateFile = {
  kind: 'file',
  path: '/etc/cni/net.d/10-flannel.conflist',
  content: text(conflist(1450)),
  mode: 0o600,
  keeps: 'chained plugins',
}
const appended = text(sorted(conflist(1450, istio)))

describe('plugins that others append to the conflist', () => {
  const own = wanted.content
  const flannels = { ...conflist(0), plugins: [{ type: 'flannel', delegate: {} }, portmap, istio] }
  const cases: readonly [what: string, found: string, whole: string][] = [
    ['nothing', '', own],
    ['the own text', own, own],
    ['a plugin behind it, in another format', appended, appended],
    [
      'several, on one line',
      JSON.stringify(conflist(1450, istio, linkerd)),
      JSON.stringify(conflist(1450, istio, linkerd)),
    ],
    ['no plugin, in another format', JSON.stringify(conflist(1450)), JSON.stringify(conflist(1450))],
    ['another MTU', text(conflist(9000)), own],
    [
      'another MTU, with a plugin',
      text(sorted(conflist(9000, istio, linkerd))),
      text(conflist(1450, sorted(istio), sorted(linkerd))),
    ],
    ['a field of its own, with a plugin', text({ ...conflist(1450, istio), x: 1 }), text(conflist(1450, istio))],
    ['flannel’s, with a plugin', text(flannels), text(conflist(1450, istio))],
    ['flannel’s', text({ ...flannels, plugins: flannels.plugins.slice(0, 2) }), own],
    ['another network’s', text({ ...conflist(1450, istio), name: 'blue' }), own],
    ['a plugin before it', text({ ...conflist(1450), plugins: [istio, ...conflist(1450).plugins] }), own],
    ['one without a type', text(conflist(1450, {})), own],
    ['one that is none', text(conflist(1450, null)), own],
    ['half a file', appended.slice(0, -40), own],
    ['no list', '{"name":"cbr0","plugins":7}', own],
    ['null', 'null', own],
    ['too deep', appended.replace('"info"', `${'['.repeat(50_000)}${']'.repeat(50_000)}`).replace('1450', '1'), own],
  ]
  for (const [what, found, whole] of cases) {
    it(`are kept, or not: ${what}`, () => {
      assert.equal(withChainedPlugins(own, found), whole)
      const verdict = compare({ kind: 'file', path: wanted.path, content: found, mode: 0o600 }, wanted)
      assert.equal(verdict, whole === found ? 'same' : 'update')
    })
  }

  it('leave the file with the mode of who wrote it, unless others may write it', () => {
    const modes = [0o600, 0o640, 0o644, 0o666, 0o664, 0o646, 0o755, 0o400, 0o4644]
    const verdicts = modes.map((mode) => compare({ kind: 'file', path: wanted.path, content: appended, mode }, wanted))
    assert.deepEqual(verdicts, ['same', 'same', 'same', ...Array(6).fill('update')])
    const { keeps, ...alone } = wanted
    assert.equal(compare({ ...alone, mode: 0o644 }, alone), 'update', keeps)
  })

  it('are settled by one repair, whatever is found', () => {
    const found = fc.oneof(
      fc.string(),
      fc.json(),
      fc.array(fc.constantFrom(istio, linkerd, portmap, {}, 7)).map((more) => text(conflist(9000, ...more))),
    )
    fc.assert(
      fc.property(found, (before) => {
        const whole = withChainedPlugins(own, before)
        assert.equal(withChainedPlugins(own, whole), whole)
      }),
    )
  })
})

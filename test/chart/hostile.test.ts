import assert from 'node:assert/strict'
import { needs } from '../needs.ts'
import { chart, helm, netConf, podSpec, render } from './helm.ts'

describe('hostile values of the chart', function () {
  needs(this, 'peer:helm')
  this.timeout(60_000)

  // No control characters but line breaks: those are refused, see below.
  const hostile = [
    '"',
    "'",
    '", "Evil": "1',
    '\\',
    '\\n',
    '{{ .Release.Name }}',
    '$(rm -rf /)',
    '$(NODE_NAME)',
    '`id`',
    'a: b',
    '- a',
    '# a',
    '&a',
    '*a',
    '!!int 1',
    '{',
    '[',
    '|',
    '> a',
    '%a',
    '@a',
    ' a ',
    '',
    'true',
    'no',
    'on',
    'y',
    'null',
    '~',
    '0',
    '0x10',
    '0o7',
    '010',
    '1e3',
    '1_000',
    '.inf',
    '.nan',
    '12:30:45',
    '2026-01-01',
    '<script>&amp;',
    'zürich 日本 \u{1f600}',
    '\u2028\u2029\ufeff\u00a0',
  ]

  it('arrive as they are, in arguments, labels, names and levels', () => {
    const nodeSelector = Object.fromEntries(hostile.map((value, n) => [`test/${n}`, value]))
    const tolerations = hostile.map((value) => ({ key: value, operator: 'Exists' }))
    const resources = { limits: nodeSelector, requests: null }
    const seLinuxOptions = { type: hostile.join(' '), level: '010' }
    const spec = podSpec({
      flannel: { args: hostile, nodeSelector, tolerations, resources },
      netpol: { enabled: true, args: hostile },
      seLinuxOptions,
      global: { imagePullSecrets: hostile.map((name) => ({ name })) },
    })
    const [flanneld, netpol] = spec.containers
    assert.deepEqual(flanneld.command, ['/opt/bin/flanneld', ...hostile, '--healthz-port=8081'])
    assert.deepEqual(netpol.command, ['/bin/netpol', ...hostile])
    assert.deepEqual(spec.nodeSelector, nodeSelector)
    assert.deepEqual(spec.tolerations, tolerations)
    assert.deepEqual(flanneld.resources, { limits: nodeSelector })
    assert.deepEqual(spec.securityContext.seLinuxOptions, seLinuxOptions)
    assert.deepEqual(
      spec.imagePullSecrets,
      hostile.map((name) => ({ name })),
    )
  })

  it('arrive as they are in the network configuration, also where nobody looks at the schema', () => {
    const values = [...hostile, 'a\nb', 'a\r\n\tb', '\n  "Network": "0.0.0.0/0",']
    for (const value of values.filter((one) => one !== '')) {
      const wireguard = { backend: 'wireguard', psk: value, tunnelMode: value }
      const found = netConf({ podCidr: value, flannel: wireguard }, '--skip-schema-validation')
      assert.deepEqual(found, {
        EnableNFTables: false,
        Network: value,
        Backend: { Type: 'wireguard', PSK: value, Mode: value },
      })
    }
  })

  it('arrive as they are in the CNI configuration', () => {
    for (const cniConf of [
      JSON.stringify({ name: hostile.join('\n') }),
      `\n\n  {\n\t"a": ${JSON.stringify(hostile)}}`,
    ]) {
      assert.equal(render({ flannel: { cniConf } })['ConfigMap'].data['cni-conf.json'], cniConf)
    }
  })

  it('large numbers stay numbers', () => {
    const limits = { memory: 104857600, cpu: 12345678 }
    assert.deepEqual(podSpec({ flannel: { resources: { limits } } }).containers[0].resources.limits, limits)
    assert.equal(netConf({ flannel: { vni: 10000000 } }).Backend.VNI, 10_000_000)
  })

  it('a release name space of digits stays text', () => {
    const { ok, stdout, stderr } = helm(['template', 'flannel', chart, '--namespace', '123'])
    assert.ok(ok, stderr)
    assert.match(stdout, /namespace: "123"/)
  })
})

import assert from 'node:assert/strict'
import { needs } from '../needs.ts'
import { refusal, render } from './helm.ts'

describe('values of the chart that cannot be meant are refused, by name', function () {
  needs(this, 'peer:helm')
  this.timeout(60_000)

  const cases: readonly [what: string, values: object, ...told: readonly RegExp[]][] = [
    ['an unknown name', { flannel: { backendport: 1 } }, /flannel/, /'backendport'/],
    ['an unknown name at the top', { podCIDR: '10.1.0.0/16' }, /'podCIDR'/],
    ['a network without length', { podCidr: '10.244.0.0' }, /podCidr/],
    ['a list of networks', { podCidr: ['10.244.0.0/16'] }, /podCidr.*got array, want.*string/],
    ['IPv4 as IPv6', { podCidrv6: '10.244.0.0/16' }, /podCidrv6/],
    ['no network at all', { podCidr: '' }, /podCidr and podCidrv6 are both empty/],
    ['a backend of that name', { flannel: { backend: 'vxlna' } }, /flannel\/backend/],
    ['a number as VNI', { flannel: { vni: 16777216 } }, /flannel\/vni.*: maximum: got/],
    ['a decimal number', { flannel: { vni: '010' } }, /flannel\/vni/],
    ['digits', { flannel: { vni: 'one' } }, /flannel\/vni/],
    ['whole numbers', { flannel: { mtu: 1450.5 } }, /flannel\/mtu/],
    ['a port', { flannel: { backendPort: 65536 } }, /flannel\/backendPort/],
    ['true or false', { flannel: { directRouting: 'yes' } }, /flannel\/directRouting.*'true', 'false'/],
    ['a boolean', { flannel: { enableNFTables: 'false' } }, /flannel\/enableNFTables.*got string, want boolean/],
    ['a boolean for netpol', { netpol: { enabled: 'true' } }, /netpol\/enabled.*got string, want boolean/],
    ['a list of arguments', { flannel: { args: '--ip-masq' } }, /flannel\/args.*got string, want.*array/],
    ['text as argument', { flannel: { args: [1] } }, /flannel\/args\/0.*got number, want string/],
    ['no control characters', { flannel: { args: ['a\u0085b'] } }, /flannel\/args\/0/],
    ['text as tag', { flannel: { image: { tag: 1.1 } } }, /flannel\/image\/tag.*got number, want string/],
    ['an image name', { flannel: { image: { repository: 'a b' } } }, /flannel\/image\/repository/],
    ['an absolute path', { flannel: { cniBinDir: 'opt/cni' } }, /flannel\/cniBinDir/],
    [
      'CNI configuration as text',
      { flannel: { cniConf: { name: 'cbr0' } } },
      /flannel\/cniConf.*got object, want string/,
    ],
    ['CNI configuration as JSON', { flannel: { cniConf: '{"name": }' } }, /flannel\.cniConf is not JSON/],
    ['CNI configuration as an object', { flannel: { cniConf: '"cbr0"' } }, /flannel\.cniConf is not JSON/],
    ['a key', { flannel: { backend: 'wireguard', psk: 'secret' } }, /flannel\/psk/],
    [
      'one key',
      { flannel: { backend: 'wireguard', psk: `${'A'.repeat(43)}=` }, pskSecretRef: { name: 'wg' } },
      /flannel\.psk and pskSecretRef\.name are both given/,
    ],
    ['a probe’s times', { flannel: { healthz: { livenessProbe: { httpGet: {} } } } }, /livenessProbe/, /httpGet/],
    [
      'pull secrets with a name',
      { global: { imagePullSecrets: ['a'] } },
      /imagePullSecrets\/0.*got string, want object/,
    ],
    ['a surge', { updateStrategy: { rollingUpdate: { maxSurge: 1 } } }, /maxSurge/],
    ['SELinux options', { seLinuxOptions: { typ: 'spc_t' } }, /seLinuxOptions/, /typ/],
    [
      'metrics without a port',
      { flannel: { healthz: { port: 0 } }, metrics: { podMonitor: { enabled: true } } },
      /metrics\.podMonitor\.enabled needs a port/,
    ],
  ]
  for (const [what, values, ...told] of cases) {
    it(what, () => {
      const text = refusal(values)
      for (const one of told) assert.match(text, one)
    })
  }

  it('but a chart that has this one as a part may switch it, and share globals and anchors', () => {
    render({ enabled: true, global: { other: { a: 1 } }, 'x-anchors': [1] })
  })
})

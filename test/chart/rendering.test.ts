import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { load } from 'js-yaml'
import { needs } from '../needs.ts'
import { chart, helm, type Manifest, netConf, podSpec, render, root } from './helm.ts'

const network = { EnableNFTables: false, Network: '10.244.0.0/16' }
const containerNames = (list: readonly { name: string }[]) => list.map(({ name }) => name)

describe('the chart', function () {
  needs(this, 'peer:helm')
  this.timeout(60_000)

  it('is linted without a complaint, and has the version of the program', () => {
    const { ok, stdout } = helm(['lint', '--strict', chart])
    assert.ok(ok, stdout)
    const about = load(readFileSync(join(chart, 'Chart.yaml'), 'utf8')) as Manifest
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    assert.deepEqual([about.name, about.version, about.appVersion], ['flannel', version, version])
  })

  describe('answers as flannel’s in what its own tests ask', () => {
    it('kind and name', () => {
      const { kind, apiVersion, metadata } = render()['DaemonSet']
      assert.deepEqual([kind, apiVersion, metadata.name], ['DaemonSet', 'apps/v1', 'kube-flannel-ds'])
    })

    it('the three images', () => {
      const spec = podSpec({
        flannel: {
          image: { repository: 'r.test/flannel', tag: 'v1' },
          flannel_cni: { image: { repository: 'r.test:5000/cni', tag: 'v2' } },
        },
        netpol: { enabled: true, image: { repository: 'r.test/netpol', tag: 'v3' } },
      })
      const images = (list: readonly Manifest[]) => list.map(({ image }) => image)
      assert.deepEqual(images(spec.initContainers), ['r.test:5000/cni:v2', 'r.test/flannel:v1'])
      assert.deepEqual(images(spec.containers), ['r.test/flannel:v1', 'r.test/netpol:v3'])
    })

    it('command and probes, with a port and without', () => {
      const [container] = podSpec({ flannel: { args: ['--ip-masq', '--kube-subnet-mgr'] } }).containers
      assert.deepEqual(container.command, [
        '/opt/bin/flanneld',
        '--ip-masq',
        '--kube-subnet-mgr',
        '--healthz-port=8081',
      ])
      assert.deepEqual(container.ports, [{ name: 'healthz', containerPort: 8081, protocol: 'TCP' }])
      assert.deepEqual(container.livenessProbe.httpGet, { path: '/livez', port: 'healthz' })
      assert.deepEqual(container.readinessProbe.httpGet, { path: '/readyz', port: 'healthz' })
      const [without] = podSpec({ flannel: { healthz: { port: 0 } } }).containers
      assert.deepEqual(without.command, ['/opt/bin/flanneld', '--ip-masq', '--kube-subnet-mgr'])
      for (const key of ['ports', 'livenessProbe', 'readinessProbe']) assert.ok(!(key in without), key)
    })

    it('pull secrets and node selector', () => {
      const secrets = [{ name: 'a-test-secret' }]
      assert.deepEqual(podSpec({ global: { imagePullSecrets: secrets } }).imagePullSecrets, secrets)
      const nodeSelector = { 'eks.amazonaws.com/compute-type': 'hybrid' }
      assert.deepEqual(podSpec({ flannel: { nodeSelector } }).nodeSelector, nodeSelector)
      for (const key of ['imagePullSecrets', 'nodeSelector']) assert.ok(!(key in podSpec({})), key)
    })

    it('skipCNIConfigInstallation', () => {
      const names = (values: object) => containerNames(podSpec(values).initContainers)
      assert.deepEqual(names({}), ['install-cni-plugin', 'install-cni'])
      assert.deepEqual(names({ flannel: { skipCNIConfigInstallation: true } }), ['install-cni-plugin'])
    })

    it('every name of its values file', () => {
      // As its values file has them, with the ones that it only shows in comments.
      const spec = podSpec({
        global: { imagePullSecrets: null },
        podCidr: '10.244.0.0/16',
        podCidrv6: '',
        flannel: {
          cniBinDir: '/a',
          cniConfDir: '/b',
          backendPort: 0,
          mtu: 1500,
          vni: 1,
          GBP: false,
          directRouting: false,
          macPrefix: '0E-2A',
          backendPortv6: 51821,
          psk: 0,
          tunnelMode: 'separate',
          keepaliveInterval: 0,
          tolerations: [{ effect: 'NoExecute', operator: 'Exists' }],
          nodeSelector: {},
        },
        netpol: { enabled: false, args: ['--v=2'] },
      })
      const paths = Object.fromEntries(spec.volumes.map(({ name, hostPath }: Manifest) => [name, hostPath?.path]))
      assert.deepEqual([paths['cni-plugin'], paths['cni']], ['/a', '/b'])
    })
  })

  describe('the network configuration', () => {
    const cases: readonly [what: string, values: object, expected: object][] = [
      ['by default', {}, { ...network, Backend: { Type: 'vxlan' } }],
      [
        'both families',
        { podCidrv6: '2001:db8:42::/56' },
        { ...network, IPv6Network: '2001:db8:42::/56', EnableIPv6: true, Backend: { Type: 'vxlan' } },
      ],
      [
        'IPv6 alone',
        { podCidr: '', podCidrv6: 'fc00::/48' },
        {
          EnableNFTables: false,
          EnableIPv4: false,
          IPv6Network: 'fc00::/48',
          EnableIPv6: true,
          Backend: { Type: 'vxlan' },
        },
      ],
      [
        'IPv6 alone, null',
        { podCidr: null, podCidrv6: 'fc00::/48', flannel: { enableNFTables: true } },
        {
          EnableNFTables: true,
          EnableIPv4: false,
          IPv6Network: 'fc00::/48',
          EnableIPv6: true,
          Backend: { Type: 'vxlan' },
        },
      ],
      [
        'all of vxlan',
        {
          flannel: {
            backendPort: 4789,
            vni: 16777215,
            GBP: true,
            directRouting: true,
            mtu: 9000,
            macPrefix: '0E-2A',
            psk: 0,
          },
        },
        {
          ...network,
          Backend: {
            Type: 'vxlan',
            Port: 4789,
            VNI: 16777215,
            GBP: true,
            DirectRouting: true,
            MTU: 9000,
            MacPrefix: '0E-2A',
          },
        },
      ],
      [
        'numbers and switches as text',
        { flannel: { backendPort: '4789', vni: '10', GBP: 'true', directRouting: 'false', mtu: '' } },
        { ...network, Backend: { Type: 'vxlan', Port: 4789, VNI: 10, GBP: true } },
      ],
      ['host-gw', { flannel: { backend: 'host-gw', mtu: 9000 } }, { ...network, Backend: { Type: 'host-gw' } }],
      ['udp', { flannel: { backend: 'UDP', backendPort: 8286 } }, { ...network, Backend: { Type: 'udp', Port: 8286 } }],
      [
        'ipip',
        { flannel: { backend: 'ipip', directRouting: true } },
        { ...network, Backend: { Type: 'ipip', DirectRouting: true } },
      ],
      ['alloc', { flannel: { backend: 'alloc' } }, { ...network, Backend: { Type: 'alloc' } }],
      [
        'wireguard, whose mode flannel’s chart leaves without quotes',
        {
          flannel: {
            backend: 'wireguard',
            backendPort: 51820,
            backendPortv6: 51821,
            psk: `${'A'.repeat(43)}=`,
            mtu: 1420,
            tunnelMode: 'auto',
            keepaliveInterval: 25,
          },
        },
        {
          ...network,
          Backend: {
            Type: 'wireguard',
            ListenPort: 51820,
            ListenPortV6: 51821,
            PSK: `${'A'.repeat(43)}=`,
            MTU: 1420,
            Mode: 'auto',
            PersistentKeepaliveInterval: 25,
          },
        },
      ],
      [
        'wireguard with a Secret',
        { flannel: { backend: 'wireguard' }, pskSecretRef: { name: 'wg' } },
        { ...network, Backend: { Type: 'wireguard', PSKFile: '/etc/kube-flannel-psk/psk' } },
      ],
    ]
    for (const [what, values, expected] of cases) {
      it(what, () => assert.deepEqual(netConf(values), expected))
    }

    it('is text that people can read', () => {
      const text: string = render()['ConfigMap'].data['net-conf.json']
      assert.ok(text.split('\n').length > 5 && text.endsWith('}\n'), text)
    })
  })

  it('leaves the CNI configuration to the daemon where told', () => {
    const spec = podSpec({ cni: { managedBy: 'daemon' } })
    assert.ok(!('initContainers' in spec))
    const flags = ['--cni-conf-file=/etc/cni/net.d/10-flannel.conflist', '--cni-plugins-from=/usr/lib/cni']
    assert.deepEqual(spec.containers[0].command.slice(-2), flags)
    const skipped = podSpec({ cni: { managedBy: 'daemon' }, flannel: { skipCNIConfigInstallation: true } })
    assert.deepEqual(skipped.containers[0].command.slice(-1), flags.slice(1))
    // The CNI folders may belong to another user.
    const added = ({ containers }: Manifest) => containers[0].securityContext.capabilities.add
    assert.deepEqual(added(spec), ['NET_ADMIN', 'NET_RAW', 'DAC_OVERRIDE'])
    assert.deepEqual(added(podSpec({})), ['NET_ADMIN', 'NET_RAW'])
  })

  it('has options of its own', () => {
    const strategy = { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '10%' } }
    const daemonSet = render({ updateStrategy: strategy, seLinuxOptions: { type: 'spc_t' } })['DaemonSet']
    assert.deepEqual(daemonSet.spec.updateStrategy, strategy)
    assert.deepEqual(daemonSet.spec.template.spec.securityContext.seLinuxOptions, { type: 'spc_t' })
    const hasTun = (values: object) => containerNames(podSpec(values).volumes).includes('tun')
    const udp = { flannel: { backend: 'udp' } }
    assert.deepEqual([hasTun({}), hasTun({ udp: { enabled: true } })], [false, true])
    assert.deepEqual([hasTun(udp), hasTun({ ...udp, udp: { enabled: false } })], [true, false])
    const image = { repository: 'r.test/flanneld', tag: `sha256:${'a'.repeat(64)}` }
    assert.equal(podSpec({ flannel: { image } }).containers[0].image, `r.test/flanneld@sha256:${'a'.repeat(64)}`)
    const secret = podSpec({ flannel: { backend: 'wireguard' }, pskSecretRef: { name: 'wg', key: 'k' } }).volumes
    assert.deepEqual(secret.find(({ name }: Manifest) => name === 'psk').secret, {
      secretName: 'wg',
      defaultMode: 0o400,
      items: [{ key: 'k', path: 'psk' }],
    })
    const monitor = render({ metrics: { podMonitor: { enabled: true, interval: '1m', labels: { release: 'p' } } } })
    assert.equal(monitor['PodMonitor'].metadata.labels.release, 'p')
    const [endpoint] = monitor['PodMonitor'].spec.podMetricsEndpoints
    assert.deepEqual([endpoint.port, endpoint.path, endpoint.interval], ['healthz', '/metrics', '1m'])
  })
})

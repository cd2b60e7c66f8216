import assert from 'node:assert/strict'
import fc from 'fast-check'
import { FLAG_NAMES, variableOf } from '../../flanneld/options/option-table.ts'
import { type Environment, type Options, parseCommandLine } from '../../flanneld/options/options.ts'
import { ConfigError, UsageError } from '../../lib/errors.ts'
import { Secret } from '../../lib/log.ts'

function run(words: string[], env: Environment = {}) {
  const line = parseCommandLine(words, env)
  if (!('options' in line)) throw new Error(`no options, but ${line.command}`)
  return line
}
const options = (...words: string[]): Options => run(words).options

describe('the command line', () => {
  it('without words runs the daemon with the defaults of the contract', () => {
    const line = run([])
    assert.equal(line.command, 'daemon')
    assert.deepEqual(line.warnings, [])
    assert.equal(line.origins.size, 0)
    assert.deepEqual(line.options, {
      etcdEndpoints: ['http://127.0.0.1:4001', 'http://127.0.0.1:2379'],
      etcdPrefix: '/coreos.com/network',
      etcdKeyfile: undefined,
      etcdCertfile: undefined,
      etcdCafile: undefined,
      etcdUsername: '',
      etcdPassword: undefined,
      kubeSubnetMgr: false,
      kubeApiUrl: '',
      kubeconfigFile: undefined,
      kubeAnnotationPrefix: 'flannel.alpha.coreos.com/',
      netConfigPath: '/etc/kube-flannel/net-conf.json',
      iface: [],
      ifaceRegex: [],
      ifaceCanReach: undefined,
      publicIp: undefined,
      publicIpv6: undefined,
      subnetFile: '/run/flannel/subnet.env',
      subnetLeaseRenewMargin: 60,
      ipMasq: false,
      ipMasqFullyRandomDisable: false,
      iptablesResync: 5,
      iptablesForwardRules: true,
      ipBlackholeRoute: false,
      healthzIp: '0.0.0.0',
      healthzPort: 0,
      setNodeNetworkUnavailable: true,
      v: 0,
      vmodule: [],
      logBacktraceAt: undefined,
      stateDir: '/var/lib/flannel',
      logFormat: 'klog',
      statusSocket: '/run/flannel/flanneld.sock',
      hold: 15,
      drain: 10,
      masqExempt: [],
      guardAllow: [],
      ingressGuard: 'count',
      protectedCidrs: ['169.254.0.0/16'],
      etcdRequireTls: false,
      allowExtension: false,
      allowKubeconfigExec: false,
      cniConfFile: undefined,
      cniNetwork: 'cbr0',
      cniBinDir: '/opt/cni/bin',
      cniPluginsFrom: undefined,
    })
  })

  it('has every flag of the contract', () => {
    const contract = `etcd-endpoints etcd-prefix etcd-keyfile etcd-certfile etcd-cafile etcd-username etcd-password kube-subnet-mgr kube-api-url
      kubeconfig-file kube-annotation-prefix net-config-path iface iface-regex iface-can-reach public-ip public-ipv6 subnet-file
      subnet-lease-renew-margin ip-masq ip-masq-fully-random-disable iptables-resync iptables-forward-rules ip-blackhole-route healthz-ip
      healthz-port set-node-network-unavailable v vmodule log_backtrace_at state-dir log-format status-socket hold drain masq-exempt
      guard-allow ingress-guard protected-cidrs etcd-require-tls allow-extension allow-kubeconfig-exec cni-conf-file
      cni-network cni-bin-dir cni-plugins-from`
    assert.deepEqual([...FLAG_NAMES].sort(), contract.split(/\s+/).sort())
  })

  const read: [words: string[], key: keyof Options, value: unknown][] = [
    [['-etcd-prefix', '/a//b/'], 'etcdPrefix', '/a/b'],
    [['--etcd-prefix=//'], 'etcdPrefix', '/'],
    [['--etcd-endpoints=https://a:1, b:2 ,http://[::1]'], 'etcdEndpoints', ['https://a:1', 'b:2', 'http://[::1]:2379']],
    [['--etcd-endpoints=http://a:80/,https://b:443'], 'etcdEndpoints', ['http://a:80', 'https://b:443']],
    [['--etcd-endpoints=http://a:1/v2,b/,[::1]:2'], 'etcdEndpoints', ['http://a:1', 'b:2379', '[::1]:2']],
    [['--etcd-endpoints=unix:///run/e,unixs:e:1'], 'etcdEndpoints', ['unix:///run/e', 'unixs:e:1']],
    [['--iface=eth0', '-iface', '10.0.0.1'], 'iface', ['eth0', '10.0.0.1']],
    [['--iface=', '--iface=eth1'], 'iface', ['eth1']],
    [['--iface-regex='], 'ifaceRegex', []],
    [['--public-ip=10.0.0.1'], 'publicIp', '10.0.0.1'],
    [[`--status-socket=/run/${'ä'.repeat(51)}`], 'statusSocket', `/run/${'ä'.repeat(51)}`],
    [['--public-ipv6=FC00::01'], 'publicIpv6', 'fc00::1'],
    [['--iface-can-reach=fc00::1'], 'ifaceCanReach', 'fc00::1'],
    [['--kube-annotation-prefix=a.b'], 'kubeAnnotationPrefix', 'a.b/'],
    [['--kube-annotation-prefix=a.b/'], 'kubeAnnotationPrefix', 'a.b/'],
    [['--kube-annotation-prefix=a.b/c'], 'kubeAnnotationPrefix', 'a.b/c-'],
    [['--kube-annotation-prefix=a.b/c-'], 'kubeAnnotationPrefix', 'a.b/c-'],
    [['--ip-masq'], 'ipMasq', true],
    [['--iptables-forward-rules=0'], 'iptablesForwardRules', false],
    [['--subnet-lease-renew-margin=0x3b'], 'subnetLeaseRenewMargin', 59],
    [['--protected-cidrs=10.96.0.0/12,fd00::/8'], 'protectedCidrs', ['10.96.0.0/12', 'fd00::/8']],
    [['--protected-cidrs='], 'protectedCidrs', []],
    [['--status-socket='], 'statusSocket', undefined],
    [['--healthz-ip='], 'healthzIp', '::'],
    [
      ['--vmodule=peer*=2,x=0'],
      'vmodule',
      [
        { pattern: 'peer*', level: 2 },
        { pattern: 'x', level: 0 },
      ],
    ],
    [['-log_backtrace_at', 'route-replaced:3'], 'logBacktraceAt', 'route-replaced:3'],
    [['--v=3'], 'v', 3],
    [['--subnet-file=/run/../run/x//y.env'], 'subnetFile', '/run/x/y.env'],
    [['--cni-conf-file=/etc//cni/1.conflist'], 'cniConfFile', '/etc/cni/1.conflist'],
    [['--cni-network=a.B-1_'], 'cniNetwork', 'a.B-1_'],
    [['--cni-plugins-from=/opt/x/'], 'cniPluginsFrom', '/opt/x'],
  ]
  for (const [words, key, value] of read) {
    it(`reads ${words.join(' ')}`, () => assert.deepEqual(options(...words)[key], value))
  }

  const refused: [words: string[], text: RegExp][] = [
    [['--nonsense'], /not defined: -nonsense/],
    [['--ip-masq', 'false'], /a switch takes its value as in --ip-masq=false/],
    [['extra'], /unexpected argument "extra"/],
    [['--', 'status'], /unexpected argument "status"/],
    [['status', 'now'], /unexpected argument "now"/],
    [['config'], /unexpected argument "config"/],
    [['status', '--nonsense'], /not defined/],
    [['--wait=5m'], /not defined/],
    [['--healthz-port=65536'], /--healthz-port: must be an integer from 0 to 65535, got 65536/],
    [['--subnet-lease-renew-margin=0'], /must be an integer from 1 to 1439/],
    [['--subnet-lease-renew-margin=1440'], /must be an integer from 1 to 1439/],
    [['--public-ip=fc00::1'], /must be an IPv4 address/],
    [['--public-ip=010.0.0.1'], /must be an IPv4 address/],
    [['--public-ipv6=fe80::1%eth0'], /must be an IPv6 address/],
    [['--log-format=xml'], /must be one of klog, json, logfmt/],
    [['--masq-exempt=10.0.0.0'], /must be a prefix/],
    [['--etcd-endpoints='], /must name at least one/],
    [['--etcd-endpoints=unix://'], /http:\/\/ or https:\/\//],
    [['--etcd-endpoints=ftp://a'], /http:\/\/ or https:\/\//],
    [['--etcd-endpoints=http://a:0'], /port 0/],
    [['--etcd-endpoints=http://a:70000'], /http:\/\/ or https:\/\//],
    [['--etcd-prefix='], /must name a key/],
    [['--etcd-prefix=./'], /must name a key/],
    [['--subnet-file='], /must be a path/],
    [['--subnet-file=/'], /must be a path/],
    [[`--subnet-file=/run/${'x'.repeat(221)}`], /at most 4000 bytes, and 220 between two slashes/],
    [[`--state-dir=${'/abcdefghi'.repeat(401)}`], /at most 4000 bytes/],
    [[`--status-socket=/run/${'ä'.repeat(52)}`], /--status-socket: must have at most 107 bytes/],
    [['--hold=-1'], /must be an integer from 0 to 525600/],
    [['--iptables-resync=0'], /must be an integer from 1 to 86400/],
    [['--iptables-resync=-1'], /must be an integer from 1 to 86400/],
    [['--healthz-port=1e400'], /must be an integer/],
    [['--vmodule=x'], /pattern=N/],
    [['--log_backtrace_at=x'], /code:N/],
    [['--cni-conf-file=/etc/cni/net.d/10-flannel.conf'], /--cni-conf-file: must end in \.conflist, .*10-flannel\.conf/],
    [['--cni-conf-file=/etc/cni/net.d/.conflist'], /must end in \.conflist/],
    [['--cni-network=../x'], /--cni-network: must be a letter or digit, then/],
    [[`--cni-network=${'x'.repeat(65)}`], /at most 64 characters/],
    [['--cni-bin-dir='], /must be a path/],
  ]
  for (const [words, text] of refused) {
    it(`refuses ${words.join(' ')}`, () => {
      assert.throws(
        () => parseCommandLine(words, {}),
        (cause) => cause instanceof UsageError && text.test(cause.message),
      )
    })
  }

  it('shows its usage and its version', () => {
    for (const word of ['-h', '--help']) {
      const line = parseCommandLine([word], {})
      assert.equal(line.command, 'help')
      for (const name of FLAG_NAMES) assert.ok(line.command === 'help' && line.text.includes(`\n  --${name}`), name)
    }
    const status = parseCommandLine(['status', '-h'], {})
    assert.ok(
      status.command === 'help' && status.text.includes('--wait TIME') && !status.text.includes('--etcd-prefix'),
    )
    assert.deepEqual(parseCommandLine(['--version'], {}), { command: 'version', stream: 'stderr' })
    assert.deepEqual(parseCommandLine(['version'], {}), { command: 'version', stream: 'stdout' })
    assert.equal(parseCommandLine(['--version=false'], {}).command, 'daemon')
  })

  it('takes the daemon’s flags before and after a command', () => {
    const line = run(['--etcd-prefix=/a', 'status', '--wait', '5m', '-o', 'json', '--brief', '--subnet-file=/x/y'])
    assert.equal(line.command, 'status')
    assert.deepEqual(
      line.flags,
      new Map<string, unknown>([
        ['wait', 300_000],
        ['o', 'json'],
        ['brief', true],
      ]),
    )
    assert.deepEqual([line.options.etcdPrefix, line.options.subnetFile], ['/a', '/x/y'])
  })

  it('takes a file behind a command that needs one, with its flags on either side', () => {
    for (const words of [
      ['config', 'render', '-o', 'json', '-'],
      ['config', 'render', '-', '-o', 'json'],
    ]) {
      const line = parseCommandLine(words, {})
      assert.ok(line.command === 'config render')
      assert.deepEqual([line.operand, [...line.flags]], ['-', [['o', 'json']]])
    }
    assert.throws(() => parseCommandLine(['config', 'render'], {}), UsageError)
    assert.throws(() => parseCommandLine(['config', 'render', 'a', 'b'], {}), UsageError)
    assert.throws(() => parseCommandLine(['status', 'a'], {}), UsageError)
  })

  for (const words of [['rotate-key']]) {
    it(`says that ${words.join(' ')} is not available yet`, () => {
      assert.throws(
        () => parseCommandLine(words, {}),
        (cause) => cause instanceof ConfigError && /not available yet/.test(cause.message),
      )
    })
  }

  it('takes the name of the shell behind completion', () => {
    assert.deepEqual(parseCommandLine(['completion', 'zsh'], {}), { command: 'completion', shell: 'zsh' })
    assert.throws(() => parseCommandLine(['completion'], {}), UsageError)
  })

  it('never throws anything but its two errors, whatever words and variables', () => {
    const value = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom('1', 'true', '/x', '10.0.0.0/8', 'http://u:secret@h'),
    )
    const word = fc.oneof(value, fc.constantFrom('status', 'plan', '--', ...FLAG_NAMES.map((name) => `--${name}`)))
    const env = fc.dictionary(fc.constantFrom(...FLAG_NAMES.map(variableOf)), value)
    fc.assert(
      fc.property(fc.array(word, { maxLength: 6 }), env, (words, variables) => {
        try {
          parseCommandLine(words, variables)
        } catch (cause) {
          assert.ok(cause instanceof UsageError || cause instanceof ConfigError, String(cause))
        }
      }),
      { numRuns: 500 },
    )
  })
})

describe('variables', () => {
  it('count where no flag is given', () => {
    const env = { FLANNELD_ETCD_PREFIX: '/env', FLANNELD_IFACE: 'eth0,eth1', FLANNELD_V: '2' }
    assert.equal(run([], env).options.etcdPrefix, '/env')
    assert.deepEqual(run([], env).options.iface, ['eth0,eth1'])
    assert.equal(run(['--etcd-prefix=/flag'], env).options.etcdPrefix, '/flag')
    assert.deepEqual(run(['--iface=x'], env).options.iface, ['x'])
    assert.deepEqual(
      run(['--etcd-prefix=/flag'], env).origins,
      new Map([
        ['etcd-prefix', 'flag'],
        ['iface', 'variable'],
        ['v', 'variable'],
      ]),
    )
  })

  it('that are empty count as unset', () => {
    const line = run([], { FLANNELD_ETCD_PREFIX: '', FLANNELD_IP_MASQ: '' })
    assert.equal(line.options.etcdPrefix, '/coreos.com/network')
    assert.deepEqual([line.origins.size, line.warnings.length], [0, 0])
  })

  it('that cannot be read are named and the default stays', () => {
    const line = run([], { FLANNELD_HEALTHZ_PORT: 'eighty', FLANNELD_IP_MASQ: 'yes' })
    assert.deepEqual([line.options.healthzPort, line.options.ipMasq], [0, false])
    assert.equal(line.warnings.length, 2)
    assert.match(line.warnings.join(), /FLANNELD_HEALTHZ_PORT was ignored, "eighty" must be an integer/)
  })

  it('that can be read and not used are refused, as by flannel', () => {
    assert.throws(
      () => run([], { FLANNELD_SUBNET_LEASE_RENEW_MARGIN: '0' }),
      /FLANNELD_SUBNET_LEASE_RENEW_MARGIN: must be an integer from 1/,
    )
    assert.throws(() => run([], { FLANNELD_PUBLIC_IP: 'here' }), ConfigError)
  })

  it('never show a secret', () => {
    const { options, warnings } = run([], { FLANNELD_ETCD_PASSWORD: 'canary' })
    assert.ok(options.etcdPassword instanceof Secret && options.etcdPassword.reveal() === 'canary')
    assert.ok(!JSON.stringify([options, warnings]).includes('canary'))
    for (const words of [
      ['--etcd-endpoints=http://user:canary@host'],
      ['--etcd-pasword=canary'],
      ['---etcd-password=canary'],
    ]) {
      assert.throws(
        () => run(words),
        (cause) => cause instanceof Error && !cause.message.includes('canary'),
      )
    }
  })
})

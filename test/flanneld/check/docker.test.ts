import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { checkDocker, checkDockerAtStart } from '../../../flanneld/check/checks/docker.ts'
import { readDocker } from '../../../flanneld/check/read/docker.ts'

const SUBNET_ENV = 'FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n'
const UNIT = '[Service]\nExecStart=/usr/bin/dockerd -H fd:// \\\n  $DOCKER_OPTS\n[Install]\nExecStart=/none\n'
const OPTIONS = 'DOCKER_OPTS=" --bip=10.5.72.1/24 --ip-masq=false --mtu=1450"\n'
const unitPath = 'usr/lib/systemd/system/docker.service'
const dropIn = 'etc/systemd/system/docker.service.d/flannel.conf'
const GIVEN = '[Service]\nEnvironmentFile=-/run/docker_opts.env\n'
const enabled = 'etc/systemd/system/multi-user.target.wants/docker.service'
const good = {
  [unitPath]: UNIT,
  [enabled]: '',
  [dropIn]: GIVEN,
  'run/docker_opts.env': OPTIONS,
  'subnet.env': SUBNET_ENV,
}

const process = (words: readonly string[], uid = 0) => ({
  'proc/12/comm': 'dockerd\n',
  'proc/12/cmdline': `${['dockerd', ...words].join('\0')}\0`,
  'proc/12/status': `Uid:\t${uid}\t${uid}\n`,
})

type Case = readonly [name: string, files: Readonly<Record<string, string>>, line: RegExp]

const cases: readonly Case[] = [
  ['no Docker', {}, /^ok docker: there is none/],
  ['the options of the script', good, /^ok docker-options: agree with each other and/],
  [
    'options that a guide has left in front (flannel issue 603)',
    { ...good, 'run/docker_opts.env': OPTIONS.replace('" ', '"--bip=10.9.1.1/24 --mtu=1472 ') },
    /^ok docker-options: agree with each other and/,
  ],
  [
    'a bridge and bip in one file (moby issue 34460)',
    {
      ...good,
      'run/docker_opts.env': 'DOCKER_OPTS=""\n',
      'etc/docker/daemon.json': '{"bip":"10.5.72.1/24","bridge":"docker0"}',
    },
    /^fail docker-options: both bridge \(docker0\) and bip/,
  ],
  ['no subnet yet', { ...good, 'subnet.env': '' }, /^ok docker-options: agree with each other$/],
  [
    'no bip',
    { ...good, 'run/docker_opts.env': '' },
    /^warn docker-subnet: .*leased subnet 10\.5\.72\.0\/24 \(no bip\).* -> make its options by mk-docker-opts/,
  ],
  [
    'no bip beside CNI',
    { ...good, 'run/docker_opts.env': '', 'etc/cni/net.d/10-flannel.conflist': '{}' },
    /^ok docker-options/,
  ],
  [
    'the subnet of the day before',
    { ...good, 'run/docker_opts.env': OPTIONS.replace('10.5.72.', '10.5.9.') },
    /^warn docker-subnet: Docker's bip is 10\.5\.9\.1\/24/,
  ],
  [
    'an MTU that is too large',
    { ...good, 'run/docker_opts.env': OPTIONS.replace('1450', '1500') },
    /^warn docker-mtu: Docker's mtu is 1500, and the overlay carries 1450/,
  ],
  [
    'an MTU that was forgotten',
    { ...good, 'run/docker_opts.env': OPTIONS.replace(' --mtu=1450', '') },
    /^warn docker-mtu: Docker's mtu is 1500/,
  ],
  [
    'two that masquerade',
    { ...good, 'run/docker_opts.env': OPTIONS.replace(' --ip-masq=false', '') },
    /^warn docker-masquerade: both Docker and flanneld masquerade/,
  ],
  [
    'a Docker without iptables',
    { ...good, 'run/docker_opts.env': OPTIONS.replace('--ip-masq', '--iptables') },
    /^ok docker-options/,
  ],
  [
    'a key in both',
    { ...good, 'etc/docker/daemon.json': '{"bip": "10.5.72.1/24"}' },
    /^fail docker-options: bip stands in \/etc\/docker\/daemon\.json and on .* -> remove "bip"/,
  ],
  [
    'hosts in both',
    { ...good, 'etc/docker/daemon.json': '{"hosts": ["unix:///x"]}' },
    /^fail docker-options: hosts stands/,
  ],
  [
    'another key in the file',
    { ...good, 'etc/docker/daemon.json': '{"log-driver": "journald"}' },
    /^ok docker-options/,
  ],
  [
    'a bridge beside bip',
    { ...good, 'etc/docker/daemon.json': '{"bridge": "cbr0"}' },
    /^fail docker-options: both bridge \(cbr0\) and bip/,
  ],
  [
    'a bridge by its short flag',
    { ...good, 'run/docker_opts.env': OPTIONS.replace('" ', '" -b cbr0 ') },
    /^fail docker-options: both bridge \(cbr0\)/,
  ],
  [
    'fixed-cidr inside',
    { ...good, 'etc/docker/daemon.json': '{"fixed-cidr": "10.5.72.128/25"}' },
    /^ok docker-options/,
  ],
  [
    'fixed-cidr outside',
    { ...good, 'etc/docker/daemon.json': '{"fixed-cidr": "10.6.0.0/24"}' },
    /^fail docker-options: fixed-cidr 10\.6\.0\.0\/24 lies outside of 10\.5\.72\.0\/24/,
  ],
  [
    'a file that is no JSON',
    { ...good, 'etc/docker/daemon.json': '{' },
    /^fail docker-options: \/etc\/docker\/daemon\.json is no JSON object/,
  ],
  ['an empty file', { ...good, 'etc/docker/daemon.json': '' }, /^ok docker-options/],
  [
    'another file of options',
    {
      ...good,
      [dropIn]: '[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --config-file=/etc/d.json\n',
      'etc/d.json': '[]',
    },
    /^fail docker-options: \/etc\/d\.json is no JSON object/,
  ],
  [
    'an options file that the unit needs',
    {
      ...good,
      [dropIn]:
        '[Service]\nEnvironmentFile=/run/none.env\nEnvironment="DOCKER_OPTS=--bip=10.5.72.1/24 --mtu=1450 --ip-masq=false"\n',
    },
    /^warn docker-options: Docker's unit needs \/run\/none\.env/,
  ],
  [
    'a unit of the administrator',
    {
      ...good,
      'etc/systemd/system/docker.service':
        '[Service]\nExecStart=/usr/bin/dockerd --bip 10.5.72.1/24 --mtu 1450 --ip-masq=0 --ip-masq=false\n',
    },
    /^ok docker-options/,
  ],
  [
    'a masked drop-in',
    { ...good, 'run/systemd/system/docker.service.d/flannel.conf': '[Service]\nExecStart=\n' },
    /^ok docker-options/,
  ],
  [
    'one that runs with other options',
    { ...good, ...process(['--bip=10.5.9.1/24', '--mtu=1450', '--ip-masq=false']) },
    /^warn docker-subnet: Docker's bip is 10\.5\.9\.1\/24/,
  ],
  // As in flannel-io/flannel#376.
  [
    'a bridge and a bip of two packages',
    {
      ...good,
      'run/docker_opts.env':
        'DOCKER_OPTS=" --bridge=cbr0 --iptables=false --ip-masq=false --bip=10.5.72.1/24 --ip-masq=true --mtu=1472 "\n',
    },
    /^fail docker-options: both bridge \(cbr0\) and bip \(10\.5\.72\.1\/24\)/,
  ],
  // k8sp/sextant#462, opsnull/follow-me-install-kubernetes-cluster#138: the options are there, and the unit does not use them.
  [
    'a unit that reads the options and does not use them',
    { ...good, [unitPath]: '[Service]\nExecStart=/usr/bin/dockerd --storage-driver=overlay\n' },
    /^warn docker-subnet: Docker is not given the leased subnet 10\.5\.72\.0\/24 \(no bip\)/,
  ],
  // Debian installs Docker's unit with the package; who does not use it disables it.
  ...[
    ['a unit that is disabled and does not run', { [unitPath]: UNIT, 'subnet.env': SUBNET_ENV }],
    [
      'a disabled unit that needs a file',
      {
        [unitPath]: UNIT,
        [dropIn]: '[Service]\nEnvironmentFile=/run/none.env\n',
        'subnet.env': SUBNET_ENV,
      },
    ],
    ['options that no Docker uses', { 'etc/docker/daemon.json': '{"bip": "10.9.0.1/24"}', 'subnet.env': SUBNET_ENV }],
  ].map(
    ([name, files]) =>
      [name, files, /^ok docker-options: agree with each other; Docker does not run and is not enabled/] as Case,
  ),
  [
    'a disabled unit whose options exclude each other',
    { [unitPath]: UNIT.replace('$DOCKER_OPTS', '--bip=10.5.72.1/24'), 'etc/docker/daemon.json': '{"bridge": "cbr0"}' },
    /^fail docker-options: both bridge/,
  ],
  [
    'a disabled unit whose Docker was started by hand',
    { [unitPath]: UNIT, 'subnet.env': SUBNET_ENV, ...process([]) },
    /^warn docker-subnet: Docker is not given/,
  ],
  [
    'a unit that its socket starts',
    { [unitPath]: UNIT, 'etc/systemd/system/sockets.target.wants/docker.socket': '', 'subnet.env': SUBNET_ENV },
    /^warn docker-subnet: Docker is not given/,
  ],
  // flannel-io/flannel#926: there is no file after a restart of the machine.
  [
    'a subnet.env that the unit needs',
    { ...good, [dropIn]: '[Service]\nEnvironmentFile=/run/flannel/subnet.env\n', 'subnet.env': '' },
    /^warn docker-options: Docker's unit needs \/run\/flannel\/subnet\.env, which is not there/,
  ],
  // coreos/bugs#1801: an empty file.
  ['an empty file of options', { ...good, 'run/docker_opts.env': '' }, /^warn docker-subnet: Docker is not given/],
  [
    'one that runs without a unit',
    { 'subnet.env': SUBNET_ENV, ...process(['--bip', '10.5.72.1/24', '--mtu=1400', '--ip-masq=false']) },
    /^ok docker-options/,
  ],
]

describe("check of Docker's options", () => {
  let root: string
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'check-'))
  })
  afterEach(() => rm(root, { recursive: true }))

  const place = async (files: Readonly<Record<string, string>>, network = 'net:[1]') => {
    for (const [name, text] of Object.entries(files)) {
      await mkdir(dirname(join(root, name)), { recursive: true })
      await writeFile(join(root, name), text)
    }
    for (const [pid, target] of [
      ['self', 'net:[1]'],
      ['12', network],
    ] as const) {
      await mkdir(join(root, 'proc', pid, 'ns'), { recursive: true })
      await symlink(target, join(root, 'proc', pid, 'ns/net'))
    }
    const lines = checkDocker({ docker: await readDocker(join(root, 'subnet.env'), { root, addresses: new Map() }) })
    return lines.map(
      ({ level, check, text, remedy }) => `${level} ${check}: ${text}${remedy === undefined ? '' : ` -> ${remedy}`}`,
    )
  }

  for (const [name, files, line] of cases) {
    it(`of ${name} says ${line.source.slice(1, 40)}`, async () => {
      const lines = await place(files)
      assert.equal(lines.length, 1, lines.join('\n'))
      assert.match(lines[0] ?? '', line)
    })
  }

  // projectatomic/atomic-system-containers#23, coreos/bugs#1393, zalando-incubator/kubernetes-on-aws#606.
  for (const [what, files, path] of [
    [
      'a link that another package left',
      { 'etc/systemd/system/docker.service.requires/flanneld.service': '' },
      'docker.service.requires/flanneld.service makes',
    ],
    [
      'a drop-in',
      { 'etc/systemd/system/docker.service.d/50-flannel.conf': '[Unit]\nRequires=network.target flanneld.service\n' },
      '50-flannel.conf makes',
    ],
  ] as const)
    it(`names ${what} that ties Docker to flanneld, and not Wants=`, async () => {
      const wants = { 'etc/systemd/system/docker.service.d/10.conf': '[Unit]\nWants=flanneld.service\n' }
      const lines = await place({ ...good, ...wants, ...files })
      assert.equal(lines.filter((line) => /^warn docker-requires: .* -> ./.test(line)).length, 1, lines.join('\n'))
      assert.ok(lines.join('\n').includes(path))
    })

  it('says nothing at the start of a daemon of what its units are about to make', async () => {
    for (const files of [
      { ...good, 'run/docker_opts.env': '' },
      { ...good, [dropIn]: '[Service]\nEnvironmentFile=/run/none.env\n' },
    ]) {
      await place(files)
      const docker = await readDocker(join(root, 'subnet.env'), { root, addresses: new Map() })
      const lines = checkDockerAtStart(docker)
      assert.deepEqual(
        lines.map(({ level }) => level),
        ['ok'],
      )
      await rm(join(root, 'proc'), { recursive: true })
    }
    await place({ ...good, 'etc/docker/daemon.json': '{"bip": "10.5.72.1/24"}' })
    const docker = await readDocker(join(root, 'subnet.env'), { root, addresses: new Map() })
    assert.match(checkDockerAtStart(docker)[0]?.text ?? '', /^bip stands in/)
  })

  it('names a Docker of a user, and not one of another host of a lab', async () => {
    assert.match(
      (await place(process([], 1000), 'net:[2]')).join(),
      /^warn docker-rootless: Docker \(pid 12, user 1000\)/,
    )
    await rm(join(root, 'proc'), { recursive: true })
    assert.deepEqual(await place(process([], 0), 'net:[2]'), ['ok docker: there is none on this host'])
  })
})

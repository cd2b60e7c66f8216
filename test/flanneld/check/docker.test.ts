import assert from 'node:assert/strict'
import { checkDockerAtStart } from '../../../flanneld/check/checks/docker.ts'
import { dockerOf, dropIn, type Files, GIVEN, good, OPTIONS, SUBNET_ENV, said, UNIT, unitPath } from './docker-files.ts'

const process = (words: readonly string[], uid = 0) => ({
  'proc/12/comm': 'dockerd\n',
  'proc/12/cmdline': `${['dockerd', ...words].join('\0')}\0`,
  'proc/12/status': `Uid:\t${uid}\t${uid}\n`,
})

type Case = readonly [name: string, files: Files, line: RegExp]

const cases: readonly Case[] = [
  ['no Docker', {}, /^ok docker: there is none/],
  ['the options of the script', good, /^ok docker-options: agree with each other and/],
  [
    'options that a guide has left in front (flannel issue 603)',
    { ...good, 'run/docker_opts.env': OPTIONS.replace('" ', '"--bip=10.9.1.1/24 --mtu=1472 ') },
    /^ok docker-options: agree with each other and/,
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
  // coreos/coreos-kubernetes#884: a later file of variables empties what the first one has set.
  [
    'options that another file empties',
    {
      ...good,
      [dropIn]: `${GIVEN}EnvironmentFile=/etc/kubernetes/cni/docker_opts_cni.env\n`,
      'etc/kubernetes/cni/docker_opts_cni.env': 'DOCKER_OPTS=""\n',
    },
    /^warn docker-subnet: Docker is not given the leased subnet/,
  ],
  // coreos/bugs#1668, kubernetes-sigs/kubespray#748: the name that the file has is not the one that the unit passes on.
  [
    'a unit that passes on another variable',
    { ...good, 'run/docker_opts.env': OPTIONS.replace('DOCKER_OPTS', 'DOCKER_NETWORK_OPTIONS') },
    /^warn docker-subnet: Docker is not given the leased subnet 10\.5\.72\.0\/24 \(no bip\)/,
  ],
  [
    'another key in the file',
    { ...good, 'etc/docker/daemon.json': '{"log-driver": "journald"}' },
    /^ok docker-options/,
  ],
  ['an empty file', { ...good, 'etc/docker/daemon.json': '' }, /^ok docker-options/],
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
  for (const [name, files, line] of cases) {
    it(`of ${name} says ${line.source.slice(1, 40)}`, async () => {
      const lines = await said(files)
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
      const lines = await said({ ...good, ...wants, ...files })
      assert.equal(lines.filter((line) => /^warn docker-requires: .* -> ./.test(line)).length, 1, lines.join('\n'))
      assert.ok(lines.join('\n').includes(path))
    })

  it('says nothing at the start of a daemon of what its units are about to make', async () => {
    const atStart = async (files: Files) => checkDockerAtStart(await dockerOf(files))
    for (const files of [
      { ...good, 'run/docker_opts.env': '' },
      { ...good, [dropIn]: '[Service]\nEnvironmentFile=/run/none.env\n' },
    ])
      assert.deepEqual(
        (await atStart(files)).map(({ level }) => level),
        ['ok'],
      )
    const [line] = await atStart({ ...good, 'etc/docker/daemon.json': '{"bip": "10.5.72.1/24"}' })
    assert.match(line?.text ?? '', /^bip stands in/)
  })

  it('names a Docker of a user, and not one of another host of a lab', async () => {
    assert.match(
      (await said(process([], 1000), 'net:[2]')).join(),
      /^warn docker-rootless: Docker \(pid 12, user 1000\)/,
    )
    assert.deepEqual(await said(process([], 0), 'net:[2]'), ['ok docker: there is none on this host'])
  })
})

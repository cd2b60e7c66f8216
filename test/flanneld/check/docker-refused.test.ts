import assert from 'node:assert/strict'
import { dropIn, type Files, good, OPTIONS, said, UNIT, unitPath } from './docker-files.ts'

type Case = readonly [name: string, files: Files, line: RegExp]

const cases: readonly Case[] = [
  [
    'a bridge and bip in one file (moby issue 34460)',
    {
      ...good,
      'run/docker_opts.env': 'DOCKER_OPTS=""\n',
      'etc/docker/daemon.json': '{"bip":"10.5.72.1/24","bridge":"docker0"}',
    },
    /^fail docker-options: both bridge \(docker0\) and bip/,
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
  // zanaca/docker-dns#34: the network instead of an address in it.
  ...(
    [
      ['10.5.72.0/24', /^fail docker-options: bip 10\.5\.72\.0\/24 is the network address .* -> 10\.5\.72\.1\/24; or/],
      ['10.5.72.255/24', /^fail docker-options: bip 10\.5\.72\.255\/24 is the broadcast address/],
      // kubernetes/kubernetes#11167, and an address without its length.
      ['true', /^fail docker-options: bip true is no address/],
      ['10.5.72.1', /^fail docker-options: bip 10\.5\.72\.1 is no address/],
      ['10.5.72.5/24', /^ok docker-options/],
    ] as const
  ).map(
    ([bip, line]) =>
      [`bip ${bip}`, { ...good, 'run/docker_opts.env': OPTIONS.replace('10.5.72.1/24', bip) }, line] as Case,
  ),
  // 1Panel-dev/1Panel#10439: a comma too many, and Docker's own words do not say where.
  [
    'a comma too many',
    { ...good, 'run/docker_opts.env': '', 'etc/docker/daemon.json': '{\n  "bip": "10.5.72.1/24",\n}\n' },
    /^fail docker-options: \/etc\/docker\/daemon\.json is no JSON object/,
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
  [
    'another file of options',
    {
      ...good,
      [dropIn]: '[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --config-file=/etc/d.json\n',
      'etc/d.json': '[]',
    },
    /^fail docker-options: \/etc\/d\.json is no JSON object/,
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
  [
    'a disabled unit whose options exclude each other',
    { [unitPath]: UNIT.replace('$DOCKER_OPTS', '--bip=10.5.72.1/24'), 'etc/docker/daemon.json': '{"bridge": "cbr0"}' },
    /^fail docker-options: both bridge/,
  ],
]

describe('check of what dockerd refuses', () => {
  for (const [name, files, line] of cases) {
    it(`of ${name} says ${line.source.slice(1, 40)}`, async () => {
      const lines = await said(files)
      assert.equal(lines.length, 1, lines.join('\n'))
      assert.match(lines[0] ?? '', line)
    })
  }
})

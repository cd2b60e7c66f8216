import assert from 'node:assert/strict'
import { optionOf, readFlags } from '../../../flanneld/check/docker-options.ts'

describe("dockerd's flags", () => {
  const cases: readonly (readonly [words: string, flags: Readonly<Record<string, string>>])[] = [
    ['--bip=10.5.72.1/24 --mtu 1450', { bip: '10.5.72.1/24', mtu: '1450' }],
    ['--ip-forward-no-drop --bip=10.5.72.1/24', { 'ip-forward-no-drop': 'true', bip: '10.5.72.1/24' }],
    // Of one that stands twice dockerd takes the last.
    ['--bip=10.9.1.1/24 --mtu=1472  --bip=10.5.72.1/24 --mtu=1450', { bip: '10.5.72.1/24', mtu: '1450' }],
    ['--ip-forward-no-drop', { 'ip-forward-no-drop': 'true' }],
    ['--some-new-switch --bip 10.5.72.1/24', { 'some-new-switch': 'true', bip: '10.5.72.1/24' }],
    ['--some-new-switch -b none', { 'some-new-switch': 'true', bridge: 'none' }],
    ['--some-new-option value --bip=10.5.72.1/24', { 'some-new-option': 'value', bip: '10.5.72.1/24' }],
    ['--oom-score-adjust -500 --mtu=1450', { 'oom-score-adjust': '-500', mtu: '1450' }],
    [
      '-D -H unix:///run/docker.sock --ip-masq=false',
      { debug: 'true', hosts: 'unix:///run/docker.sock', 'ip-masq': 'false' },
    ],
  ]
  for (const [words, flags] of cases) {
    it(`are read: ${words}`, () => {
      const read = readFlags(words.split(' '))
      assert.deepEqual(
        Object.fromEntries([...read.keys()].map((name) => [name, optionOf({ flags: read, file: new Map() }, name)])),
        flags,
      )
    })
  }
})

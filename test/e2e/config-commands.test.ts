import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { daemonProgram } from './world.ts'

describe('flanneld config', () => {
  let folder: string

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'flanneld-config-'))
  })

  after(() => rmSync(folder, { recursive: true, force: true }))

  const run = (words: readonly string[], input = '') => {
    const { status, stdout, stderr } = spawnSync(daemonProgram, ['config', ...words], {
      input,
      cwd: folder,
      encoding: 'utf8',
      env: { PATH: process.env['PATH'] },
    })
    return { code: status, stdout, stderr }
  }

  const verdicts: readonly [document: string, code: number, said: RegExp][] = [
    [
      '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}',
      0,
      /^standard input: valid: vxlan; 10\.5\.0\.0\/16, subnets \/24 from 10\.5\.1\.0 to 10\.5\.255\.0\n$/,
    ],
    ['{"network":"10.5.0.0/16"}', 0, /^standard input: valid: udp;.*\nstandard input: warning: Backend: absent/],
    [
      '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":0}}',
      78,
      /^standard input: Backend\.VNI: must be an integer from 1 to 16777215, got 0\n$/,
    ],
    [
      '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","Mut":1}}',
      0,
      /warning: Backend\.Mut: unknown key; the nearest known key is MTU\n$/,
    ],
    ['{"Network":"10.5.0.0/16","Backend":{}}', 78, /^standard input: Backend\.Type: must name a backend/],
    [
      '{"Network":"10.5.0.0/16","Backend":{"Type":"ipsec"}}',
      78,
      /Backend\.Type: exists only in flannel; use one of .*, got "ipsec"\n$/,
    ],
    [
      '{"Network":"10.5.0.0/16","EnableIPv6":true,"Backend":{"Type":"vxlan"}}',
      78,
      /^standard input: IPv6Network: must be given/,
    ],
    ['{"Network":"10.5.0.0/16"', 78, /^standard input: must be a JSON document, got /],
    ['', 78, /^standard input: must be a JSON document, got /],
    ['[]', 78, /^standard input: the document: must be a JSON object, got \[\]\n$/],
  ]
  for (const [document, code, said] of verdicts) {
    it(`validate ends with ${code} for ${document || 'nothing'}`, () => {
      const done = run(['validate', '-'], document)
      assert.equal(done.code, code, done.stderr)
      assert.match(done.stdout + done.stderr, said)
    })
  }

  it('validate reads a file, and takes unknown keys for a fault if asked to', () => {
    writeFileSync(join(folder, 'net.json'), '{"Network":"10.5.0.0/16","Subnetlength":24,"Backend":{"Type":"vxlan"}}')
    assert.deepEqual(run(['validate', 'net.json']).code, 0)
    const strict = run(['validate', 'net.json', '--strict'])
    assert.deepEqual(
      [strict.code, strict.stdout, strict.stderr],
      [78, '', 'net.json: Subnetlength: unknown key; the nearest known key is SubnetLen\n'],
    )
    const document = JSON.parse(run(['validate', '--strict', '-o', 'json', 'net.json']).stdout)
    assert.deepEqual(
      [document.apiVersion, document.valid, document.fault.path],
      ['flannel.config/v1', false, 'Subnetlength'],
    )
  })

  it('render writes every default out, and what it writes is a configuration that it writes again', () => {
    const once = run(['render', '-'], '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","Port":0}}')
    assert.deepEqual([once.code, once.stderr], [0, ''])
    assert.deepEqual(JSON.parse(once.stdout).Backend, {
      Type: 'vxlan',
      VNI: 1,
      Port: 8472,
      GBP: false,
      Learning: false,
      DirectRouting: false,
      MTU: 0,
    })
    assert.equal(run(['render', '-'], once.stdout).stdout, once.stdout)
  })

  it('render tells where each value comes from', () => {
    const { values } = JSON.parse(
      run(['render', '-o', 'json', '-'], '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":7}}').stdout,
    )
    const vni = values.find(({ key }: { key: string }) => key === 'Backend.VNI')
    assert.deepEqual(vni, { key: 'Backend.VNI', value: 7, source: 'document', default: 1 })
  })

  it('judges a subnet length as the daemon would: where Kubernetes assigns subnets it says nothing', () => {
    const document = '{"Network":"10.244.0.0/16","SubnetLen":17,"Backend":{"Type":"vxlan"}}'
    assert.equal(run(['validate', '-'], document).code, 78)
    const { status } = spawnSync(daemonProgram, ['--kube-subnet-mgr', 'config', 'validate', '-'], { input: document })
    assert.equal(status, 0)
  })

  it('says what is missing: a file that is not there, or none at all', () => {
    const absent = run(['validate', 'absent.json'])
    assert.deepEqual([absent.code, absent.stdout], [1, ''])
    assert.match(absent.stderr, /absent\.json cannot be read: ENOENT/)
    const none = run(['render'])
    assert.equal(none.code, 2)
    assert.match(none.stderr, /config render needs a file, or - for the standard input/)
    assert.equal(run(['validate', 'a', 'b']).code, 2)
    assert.equal(run(['validate', '-', '-o', 'yaml'], '{}').code, 2)
  })
})

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { env } from 'node:process'
import { completionScript } from '../../../flanneld/completion/completion.ts'

/** What bash offers when the last of these words is to be completed; bash takes `=` for a word. */
function offered(...words: readonly string[]): readonly string[] {
  const script = [
    'compopt() { :; }',
    completionScript('bash'),
    `COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _flanneld; printf '%s\\n' "\${COMPREPLY[@]}"`,
  ].join('\n')
  const { stdout, stderr } = spawnSync('bash', ['--norc', '-c', script, 'bash', 'flanneld', ...words], {
    encoding: 'utf8',
  })
  assert.equal(stderr, '')
  return stdout.split('\n').filter((line) => line !== '')
}

describe('completion', () => {
  it('is registered in bash for flanneld', () => {
    const script = `${completionScript('bash')}complete -p flanneld`
    const { stdout, stderr } = spawnSync('bash', ['--norc', '-u', '-c', script], { encoding: 'utf8' })
    assert.deepEqual([stdout, stderr], ['complete -F _flanneld flanneld\n', ''])
  })

  const cases: readonly (readonly [words: readonly string[], offered: readonly string[]])[] = [
    [['st'], ['status']],
    [
      ['completion', ''],
      ['bash', 'zsh', 'fish'],
    ],
    [['completion', 'bash', ''], []],
    [['status', '--b'], ['--brief']],
    [['plan', '--b'], []],
    [['status', '-o', ''], ['json']],
    [
      ['--log-format', ''],
      ['klog', 'json', 'logfmt'],
    ],
    [['-log-format', 'k'], ['klog']],
    [
      ['--log-format', '='],
      ['klog', 'json', 'logfmt'],
    ],
    [['--log-format', '=', 'j'], ['json']],
    [['--etcd-prefix', ''], []],
    [['--etcd-prefix', 'status', 'st'], ['status']],
    [['--etcd-prefix', '=', '/x', 'st'], ['status']],
    [['--ip-masq', 'st'], ['status']],
    [['--subnet-file', import.meta.filename.slice(0, -2)], [import.meta.filename]],
    [
      ['config', ''],
      ['validate', 'render'],
    ],
    [['config', 'validate', import.meta.filename.slice(0, -2)], [import.meta.filename]],
    [
      ['config', 'validate', '--st'],
      ['--strict', '--state-dir', '--status-socket'],
    ],
    // Not available yet.
    [['--allow-ext'], []],
    [['rotate'], []],
  ]
  for (const [words, expected] of cases) {
    it(`in bash offers [${expected.join(' ')}] behind ${words.slice(-2).join(' ')}`, () => {
      assert.deepEqual(offered(...words), expected)
    })
  }

  // Read by hand in zsh 5.9 and fish 3.6; GOLDEN=write writes them.
  for (const shell of ['zsh', 'fish'] as const) {
    it(`for ${shell} is as it was read`, () => {
      const file = join(import.meta.dirname, `golden.${shell}`)
      const script = completionScript(shell)
      if (env['GOLDEN'] === 'write') writeFileSync(file, script)
      assert.equal(script, readFileSync(file, 'utf8'))
    })
  }
})

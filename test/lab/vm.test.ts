import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { labVariable, processesOfLab } from '../../lab/proc.ts'
import { loadOrder } from '../../lab/vm/initial-files.ts'
import { commandText } from '../../lab/vm/machine.ts'
import { runFiles } from '../../scripts/test/run-suite.ts'
import { needs } from '../needs.ts'
import { until } from '../until.ts'

const root = join(import.meta.dirname, '../..')

describe('the virtual machine', function () {
  needs(this, 'vm')
  // Eight seconds on an idle machine.
  this.timeout(400_000)
  let folder = ''
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'vm-test-'))
  })
  afterEach(async () => await rm(folder, { recursive: true, force: true }))

  it('gives back the report of passing and failing tests', async () => {
    const files = [join(folder, 'a.test.mjs'), join(folder, 'b.test.mjs')] as const
    await writeFile(files[0], "it('passes', () => {})\nit.skip('waits', () => {})\n")
    await writeFile(files[1], "import { release } from 'node:os'\nit('fails', () => { throw new Error(release()) })\n")
    const outcome = await runFiles(files, { grep: '', minutes: 6, silent: true, inMachine: true })
    assert.ok(outcome.at === 'ran')
    assert.deepEqual([outcome.passed, outcome.pending.length, outcome.trouble], [1, 1, []])
    assert.equal(outcome.failed[0]?.title, 'fails')
    assert.match(outcome.failed[0]?.message ?? '', /^6\.1\.0-\d+-amd64$/)
  })

  it('runs a command with its folder, environment, output and exit code, and keeps what is to stay', async () => {
    const script = `
      pwd; echo "$GREETING"; echo to stderr >&2
      echo kept >"$2"; echo lost >/usr/lost; echo "$1" >>"$2"; exit 7`
    const { output, code } = await vm([
      '--write',
      folder,
      '--',
      'sh',
      '-c',
      script,
      'sh',
      "it's $HOME",
      join(folder, 'kept'),
    ]).end
    assert.equal(output, `${root}\nsee 'here'\n"$HOME"\nto stderr\n`)
    assert.equal(code, 7)
    assert.equal(await readFile(join(folder, 'kept'), 'utf8'), "kept\nit's $HOME\n")
    await assert.rejects(readFile('/usr/lost'), { code: 'ENOENT' })
  })

  it('ends at the time limit', async () => {
    const { output, code } = await vm(['--minutes', '0.1', '--', 'sleep', '1000']).end
    assert.equal(code, 124)
    assert.equal(output, 'vm: out of time (--minutes)\n')
    await until(5_000, 'all have ended', async () => assert.deepEqual(await processes(), []))
  })

  for (const [signal, code] of [
    ['SIGTERM', 130],
    ['SIGINT', 130],
    ['SIGKILL', null],
  ] as const) {
    it(`leaves no process behind after ${signal}`, async () => {
      const command = vm(['--', 'sleep', '1000'])
      while (!(await started())) await sleep(50)
      command.child.kill(signal)
      assert.equal((await command.end).code, code)
      await until(5_000, 'all have ended', async () => assert.deepEqual(await processes(), []))
    })
  }

  /** Whatever the command has started, wherever it hangs in the tree: all inherit the mark. */
  async function processes(): Promise<readonly string[]> {
    const found = await processesOfLab(mark())
    const lines = await Promise.all(found.map(({ pid }) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')))
    return lines.map((line) => line.replaceAll('\0', ' ')).filter((line) => line !== '')
  }

  async function started(): Promise<boolean> {
    return (await processes()).some((line) => line.startsWith('qemu-system-x86_64'))
  }

  function mark(): string {
    return basename(folder)
  }

  function vm(args: readonly string[]): { child: ChildProcess; end: Promise<{ output: string; code: number | null }> } {
    const child = spawn(process.execPath, ['--import', 'tsx', 'lab/vm/main.ts', ...args], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, GREETING: `see 'here'\n"$HOME"`, [labVariable]: mark() },
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += String(chunk)))
    const end = new Promise<{ output: string; code: number | null }>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code) => resolve({ output, code }))
    })
    return { child, end }
  }
})

describe('what the virtual machine is given', () => {
  it('loads modules after those that they need', () => {
    const dependencies = 'a/one.ko: b/two.ko c/three.ko\nb/two.ko: c/three.ko\nc/three.ko:\nd/four.ko: c/three.ko\n'
    assert.deepEqual(loadOrder(dependencies, ['one', 'four']), ['c/three.ko', 'b/two.ko', 'a/one.ko', 'd/four.ko'])
    assert.throws(() => loadOrder(dependencies, ['five']), /no module five/)
  })

  it('is told words and values as they are', () => {
    const environment = { PLAIN: 'x', ODD: "a'b\n$(c)", TMPDIR: '/x', UNSET: undefined, 'not a name': 'x' }
    assert.equal(
      commandText({ command: ['a b', "c'd"], folder: '/f', environment, writable: [] }),
      "export PLAIN='x'\nexport ODD='a'\\''b\n$(c)'\ncd '/f' || exit\nexec 'a b' 'c'\\''d'\n",
    )
  })
})

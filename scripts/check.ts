// npm run check: all scripts of package.json that are named `check:...`. The unit tests wait much; the others, one after another,
// fill what those leave of two cores. Each runs to its end whatever becomes of the others: one run tells all.
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'

interface Part {
  readonly name: string
  readonly command: string
}

interface Result extends Part {
  readonly ok: boolean
  readonly seconds: number
  /** Empty where it went to ours. */
  readonly output: string
}

const root = join(import.meta.dirname, '..')
const { scripts }: { scripts: Record<string, string> } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const parts = Object.entries(scripts)
  .filter(([name]) => name.startsWith('check:'))
  .map(([name, command]): Part => ({ name, command }))
const isUnit = ({ name }: Part) => name === 'check:unit'

// Ctrl-C goes to the parts as well; what they say then is still printed.
process.on('SIGINT', () => {})

const lanes = [
  runEach(parts.filter(isUnit), 'inherit'),
  runEach(
    parts.filter((part) => !isUnit(part)),
    'pipe',
  ),
]
const results = (await Promise.all(lanes)).flat()
for (const { name, output } of results) if (output !== '') process.stdout.write(`\n=== npm run ${name}\n${output}`)
process.stdout.write('\n')
for (const { name, ok, seconds } of results)
  process.stdout.write(`${name.padEnd(24)}${seconds.toFixed(1).padStart(5)} s  ${ok ? 'ok' : 'FAILED'}\n`)
process.exitCode = results.every(({ ok }) => ok) ? 0 : 1

async function runEach(lane: readonly Part[], output: 'inherit' | 'pipe'): Promise<readonly Result[]> {
  const done: Result[] = []
  for (const part of lane) done.push(await run(part, output))
  return done
}

async function run(part: Part, output: 'inherit' | 'pipe'): Promise<Result> {
  const begin = performance.now()
  const env = { ...process.env, PATH: [join(root, 'node_modules/.bin'), process.env['PATH']].join(delimiter) }
  const child = spawn(part.command, { shell: true, cwd: root, env, stdio: ['ignore', output, output] })
  const chunks: Buffer[] = []
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => chunks.push(chunk))
  const ok = await new Promise<boolean>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve(code === 0))
  })
  return { ...part, ok, seconds: (performance.now() - begin) / 1000, output: Buffer.concat(chunks).toString() }
}

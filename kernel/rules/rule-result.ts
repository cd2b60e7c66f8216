import { messageOf } from '../../lib/errors.ts'
import { OpFailure, type OpResult } from '../table.ts'
import { runProgram } from './program.ts'

/** The outcome of work that a tool does. */
export async function ruleResult(work: () => Promise<void>): Promise<OpResult> {
  try {
    await work()
    return { ok: true }
  } catch (cause) {
    const code = cause instanceof OpFailure ? cause.code : 'ESTALE'
    return { ok: false, error: { code, message: messageOf(cause) } }
  }
}

/** The outcomes of scripts for `nft -f -`, a transaction each, one after the other; `onStart` hears the process id of each. */
export async function nftResults(
  scripts: readonly string[],
  onStart: (pid: number) => void = () => {},
): Promise<readonly OpResult[]> {
  const results: OpResult[] = []
  for (const input of scripts) {
    results.push(await ruleResult(async () => void (await runProgram('nft', ['-f', '-'], { input, onStart }))))
  }
  return results
}

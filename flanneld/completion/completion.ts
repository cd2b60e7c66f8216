import { bashCompletion } from './bash.ts'
import { fishCompletion } from './fish.ts'
import { vocabulary } from './vocabulary.ts'
import { zshCompletion } from './zsh.ts'

const SHELLS = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion }

/** The script by which a shell completes what is typed behind `flanneld`. */
export function completionScript(shell: keyof typeof SHELLS): string {
  return SHELLS[shell](vocabulary())
}

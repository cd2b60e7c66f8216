import { messageOf } from '../../lib/errors.ts'
import { CANNOT_ASK } from './ask-daemon.ts'

export interface SwitchNeeds {
  readonly order: (signal: AbortSignal) => Promise<string>
  readonly print: (text: string) => void
  readonly complain: (text: string) => void
}

/** `flanneld switch`: the running daemon uses the network configuration that it holds back; 0 done, or nothing waited, 3 cannot ask. */
export async function runSwitch({ order, print, complain }: SwitchNeeds, signal: AbortSignal): Promise<number> {
  try {
    print(await order(signal))
    return 0
  } catch (cause) {
    complain(`${messageOf(cause)}\n`)
    return CANNOT_ASK
  }
}

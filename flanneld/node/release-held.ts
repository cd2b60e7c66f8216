import type { Clock } from '../../lib/clock.ts'
import type { Source } from '../../lib/latest.ts'
import type { PeerView } from '../leases/peer-view.ts'

/** Has the peers judged again when the next one that is held may go. `changes`: after any of them another one may be the next. */
export async function releaseHeld(
  needs: { peers: PeerView; clock: Clock; changes: Source<unknown>; onRelease: () => void },
  signal: AbortSignal,
): Promise<void> {
  const { peers, clock, changes, onRelease } = needs
  for await (const _ of changes.watch(signal)) {
    const release = peers.nextRelease()
    if (release === undefined) continue
    await clock.sleep(Math.max(0, release - clock.now()), signal).catch(() => {})
    onRelease()
  }
}

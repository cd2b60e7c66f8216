import type { Clock } from '../../lib/clock.ts'
import type { ObjectKind } from '../objects.ts'
import type { Journal } from './journal.ts'
import type { KindMirror } from './mirror.ts'
import type { Fights, Retries } from './pacing.ts'
import type { RepairLog } from './repair-log.ts'
import type { SlowPrograms } from './slow-programs.ts'

/** What outlives a pass. */
export interface PassNeeds {
  readonly mirrors: ReadonlyMap<ObjectKind, KindMirror>
  readonly programs: SlowPrograms
  readonly retries: Retries
  readonly fights: Fights
  readonly repairs: RepairLog
  readonly journal: Journal
  readonly clock: Clock
  readonly tally: Tally
}

export interface Tally {
  readonly driftRepaired: Map<ObjectKind, number>
  readonly adopted: Map<ObjectKind, number>
  readonly errors: Map<ObjectKind, number>
}

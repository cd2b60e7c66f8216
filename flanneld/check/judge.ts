import { checkDaemons } from './checks/daemons.ts'
import { checkDocker } from './checks/docker.ts'
import {
  checkFirewall,
  checkModules,
  checkObjects,
  checkOutlook,
  checkPermission,
  checkPorts,
  checkSysctls,
} from './checks/host.ts'
import { checkClock, checkConfiguration, checkStore, checkStoreAccess, checkTlsFiles } from './checks/store.ts'
import { checkAvailability, checkVariables } from './checks/variables.ts'
import type { Facts } from './facts.ts'
import { LEVELS, type Line } from './line.ts'

/** Each is pure, and says nothing where what it judges was not read. */
const CHECKS: readonly ((facts: Facts) => readonly Line[])[] = [
  checkPermission,
  checkAvailability,
  checkVariables,
  checkDaemons,
  checkTlsFiles,
  checkStore,
  checkStoreAccess,
  checkClock,
  checkConfiguration,
  checkOutlook,
  checkModules,
  checkPorts,
  checkObjects,
  checkSysctls,
  checkFirewall,
  checkDocker,
]

export function judge(facts: Facts): readonly Line[] {
  return CHECKS.flatMap((check) => check(facts))
}

/** Of the gravest line; also the exit code. */
export function gravest(lines: readonly Line[]): number {
  return Math.max(0, ...lines.map(({ level }) => LEVELS.indexOf(level)))
}

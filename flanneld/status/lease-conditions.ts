import { assertNever } from '../../lib/errors.ts'
import type { LeaseConflict, OwnLease } from '../../subnet/types.ts'
import type { LeaseState } from '../leases/lease-keeper.ts'
import type { Condition } from './status.ts'

/** What the own lease says of itself. Pure. */
export function leaseConditions(state: LeaseState): readonly Condition[] {
  if (state.at === 'held') {
    const { lacks } = state.own
    if (lacks === undefined) return []
    return [
      {
        code: 'lease-family',
        severity: 'warning',
        text: `the lease ${state.own.lease.id} stays as it is: ${lacks.text}`,
        remedy: lacks.remedy,
      },
    ]
  }
  if (state.at === 'recorded') return state.isGood ? [] : [expiredCondition(state.own)]
  if (state.at === 'lost') {
    return [
      {
        code: `lease-${state.conflict.type}`,
        severity: 'error',
        text: `the own lease ${state.last.lease.id} was lost: ${state.text}`,
        remedy: `containers keep their addresses; ${afterLoss(state.conflict)}`,
      },
    ]
  }
  if (state.waitingFor === undefined) return []
  const text = `no subnet leased yet: ${state.waitingFor}`
  const remedy = state.remedy ?? WAIT_REMEDY
  return [{ code: 'lease-waiting', severity: 'error', text, remedy }]
}

const WAIT_REMEDY =
  'it is tried again by itself: let the lease store answer; if all subnets are taken, delete leases of hosts that are gone or make the network larger; if hosts, gateways or routes lie in them, move Network or SubnetMin and SubnetMax beside these'
function expiredCondition({ lease, expiresAt }: OwnLease): Condition {
  const when = expiresAt === undefined ? '' : `, at ${new Date(expiresAt).toISOString()} by the clock of this host`
  return {
    code: 'lease-unsure',
    severity: 'error',
    text: `the lease may have expired${when}: ${lease.id} of the last run, and the lease store does not answer`,
    remedy:
      'it is renewed when the store answers; until then containers that run keep their addresses, and new ones wait',
  }
}

const NEW_SUBNET = 'stop the daemon, run `flanneld cleanup`, and start it again'

/** None of these takes the lease away from who holds it now. */
function afterLoss(conflict: LeaseConflict): string {
  switch (conflict.type) {
    case 'identity-shared':
      return 'find the host with the copied state directory; on the copy stop the daemon, delete `node-id` there, give it an address of its own, and start it again'
    case 'public-address-taken':
    case 'public-address-shared':
      return `give one of the two hosts an address of its own (--iface, --public-ip); then start this one again`
    case 'subnet-taken':
      return conflict.publicIp === undefined
        ? `to take a new subnet ${NEW_SUBNET}`
        : `two hosts must not have one address: give this one its own (--iface, --public-ip); to take a new subnet then ${NEW_SUBNET}`
    case 'pool-exhausted':
      return `to take a new subnet ${NEW_SUBNET}`
    default:
      return assertNever(conflict)
  }
}

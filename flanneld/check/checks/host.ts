import { nameOfPath, obstacleText } from '../../../kernel/obstacles/packet-path.ts'
import { remedyFor } from '../../status/remedies.ts'
import type { Facts, PlanFacts } from '../facts.ts'
import { fail, type Line, ok, warn } from '../line.ts'

export function checkPermission({ permission }: Facts): readonly Line[] {
  if (permission === undefined) return []
  const { fault } = permission
  if (fault === undefined) return [ok('permission', 'CAP_NET_ADMIN is there')]
  return [fail('permission', fault, 'run it as root, or set AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW in the unit')]
}

/** What ends the daemon at its start, and what it would call a condition. */
export function checkOutlook({ outlook }: Facts): readonly Line[] {
  if (outlook === undefined) return []
  if ('fault' in outlook) return [fail('plan', outlook.fault, outlook.remedy)]
  const { uplink, backend, plan, leaseConflict, askedFirst, conditions, warnings } = outlook
  const lines = [ok('interface', `${uplink.name}, MTU ${uplink.mtu} (${uplink.reason})`)]
  for (const text of warnings)
    lines.push(warn('configuration', text, 'correct the configuration; what is unknown in it is not used'))
  if (leaseConflict !== undefined)
    lines.push(fail('lease', leaseConflict, 'make the network larger, or delete leases of hosts that are gone'))
  if (askedFirst !== undefined)
    lines.push(
      warn(
        'lease',
        `lease ${askedFirst.id} of node ${askedFirst.node} has this host's public address: a start asks whether that one lives, for 30 s`,
        'if another host has this address, give one of the two its own (--iface, --public-ip); if this host was set up again, nothing',
      ),
    )
  for (const { code, severity, text, remedy } of conditions)
    if (severity !== 'info') lines.push(warn(code, text, remedy))
  if (plan !== undefined) lines.push(ok('mtu', `${backend} leaves containers ${plan.mtu} of ${uplink.mtu} bytes`))
  return lines
}

export function checkModules(facts: Facts): readonly Line[] {
  const modules = planOf(facts)?.modules ?? []
  return modules.map(({ name, state }) => {
    switch (state) {
      case 'there':
        return ok('modules', `${name} is there`)
      case 'loadable':
        return ok('modules', `${name} can be loaded`)
      case 'missing':
        return fail(
          'modules',
          `this kernel has no module ${name}`,
          `install the kernel's package of modules and run 'modprobe ${name}', or choose another backend`,
        )
      default:
        return warn(
          'modules',
          `whether this kernel has ${name} cannot be seen: it is not loaded, and there is no list of modules`,
          `modprobe ${name}`,
        )
    }
  })
}

/** Objects of others, and refusals that can be foreseen. */
export function checkObjects(facts: Facts): readonly Line[] {
  const plan = planOf(facts)
  if (plan === undefined) return []
  if (plan.failures.length === 0) return [ok('objects', 'nothing of others stands in the way')]
  return plan.failures.map((failure) => {
    const isRequired = failure.object.role.class === 'required'
    return (isRequired ? fail : warn)('objects', `${failure.key}: ${failure.text}`, remedyFor(failure))
  })
}

export function checkPorts(facts: Facts): readonly Line[] {
  return (planOf(facts)?.ports ?? []).map(({ port, holder }) =>
    holder === undefined
      ? ok('ports', `${port} is free, or ours`)
      : fail(
          'ports',
          `${port} is in use by ${holder}`,
          port.endsWith('udp')
            ? 'stop it, or choose another Backend.Port'
            : 'stop it, or choose another --healthz-port',
        ),
  )
}

export function checkSysctls(facts: Facts): readonly Line[] {
  const plan = planOf(facts)
  if (plan === undefined) return []
  const lines = plan.sysctls.flatMap(({ path, value, wanted, writable, remedy }) =>
    value === undefined || value === wanted || writable
      ? []
      : [
          warn(
            'sysctls',
            `${path} is ${value}, must be ${wanted}, and cannot be written here`,
            `on the host: ${remedy}`,
          ),
        ],
  )
  const { strictUplink } = plan
  if (strictUplink !== undefined && strictUplink.elsewhere.length > 0) {
    const { sysctl, elsewhere } = strictUplink
    const text = `the reverse path filter is strict (${sysctl}=1), and the way to ${few(elsewhere)} leads by another interface: what these send is dropped`
    lines.push(warn('rp-filter', text, `sysctl -w ${sysctl}=2, or name the other interface by --iface`))
  }
  return lines.length > 0 ? lines : [ok('sysctls', 'are as wanted, or can be set')]
}

/** Rules of other programs that drop our packets. What our own rules will open is no fault before they stand. */
export function checkFirewall(facts: Facts): readonly Line[] {
  const plan = planOf(facts)
  if (plan === undefined) return []
  const lines = plan.obstacles.flatMap(({ path, found }) =>
    found
      .filter(({ policyOf }) => policyOf === undefined || policyOf !== plan.ownRules)
      .map((obstacle) => {
        const level = path.hook === 'input' ? fail : warn
        const remedy = obstacle.command === '' ? 'its owner must let the overlay through' : obstacle.command
        return level(
          'firewall',
          `${nameOfPath(path).replace(/^clear-path /, '')}: ${obstacleText({ ...obstacle, command: '' })}`,
          remedy,
        )
      }),
  )
  return lines.length > 0 ? lines : [ok('firewall', 'no rule of others is in the way')]
}

function planOf({ outlook }: Facts): PlanFacts | undefined {
  return outlook === undefined || 'fault' in outlook ? undefined : outlook.plan
}

function few(names: readonly string[]): string {
  return `${names.slice(0, 3).join(', ')}${names.length > 3 ? ` and ${names.length - 3} more` : ''}`
}

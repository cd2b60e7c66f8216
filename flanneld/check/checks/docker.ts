import {
  addressBits,
  cidrOf,
  contains,
  familyOf,
  firstHost,
  ipFromNumber,
  ipToNumber,
  networkAddress,
  parseCidr,
  parseInterfaceCidr,
} from '../../../lib/address.ts'
import type { Condition } from '../../status/status.ts'
import { dockerDisagreements, subnetOf } from '../docker-agreement.ts'
import { type DockerOptions, optionOf, readDaemonJson, readFlags } from '../docker-options.ts'
import type { DockerFacts, Facts } from '../facts.ts'
import { fail, type Line, ok, warn } from '../line.ts'

const CHECK = 'docker-options'
const USE_LEASED = 'have mk-docker-opts.sh write --bip=, which takes it from subnet.env'

export function checkDocker({ docker }: Facts): readonly Line[] {
  if (docker === undefined) return []
  const lines = [...checkRootless(docker), ...checkTies(docker), ...checkOptions(docker)]
  return lines.length > 0 ? lines : [ok('docker', 'there is none on this host')]
}

/** Its containers live in a network of their own, behind a program that carries their packets. */
function checkRootless({ processes }: DockerFacts): readonly Line[] {
  return processes
    .filter(({ here }) => !here)
    .map(({ pid, uid }) =>
      warn(
        'docker-rootless',
        `Docker (pid ${pid}, user ${uid}) runs in a network namespace of its own: its containers are not in the overlay`,
        'run Docker as root in the network of the host for containers that others shall reach',
      ),
    )
}

function checkTies({ unit }: DockerFacts): readonly Line[] {
  return (unit?.ties ?? []).map((path) =>
    warn(
      'docker-requires',
      `${path} makes Docker require flanneld: a restart of flanneld is one of Docker and its containers, and Docker does not start when flanneld fails`,
      path.includes('.requires/')
        ? `rm ${path} && systemctl daemon-reload`
        : 'take flanneld.service out of Requires=, BindsTo= or PartOf= there; Wants= and After= are enough',
    ),
  )
}

function checkOptions(docker: DockerFacts): readonly Line[] {
  const { file, unit, processes } = docker
  const running = processes.find(({ here }) => here)
  if (file === undefined && unit === undefined && running === undefined) return []
  const json = fileOptions(docker)
  if (json === undefined)
    return [
      fail(
        CHECK,
        `${file?.path} is no JSON object: Docker does not start`,
        `correct it: dockerd --validate --config-file ${file?.path}`,
      ),
    ]
  // A Docker that nobody starts takes no address; what is in its files may be wrong for the day when somebody does.
  const isAsleep = running === undefined && unit?.isEnabled !== true
  const missing = isAsleep ? [] : (unit?.missing ?? [])
  const lines = missing.map((path) =>
    warn(
      CHECK,
      `Docker's unit needs ${path}, which is not there: Docker does not start`,
      `have flanneld started first, and mk-docker-opts.sh write it`,
    ),
  )
  // The next start is by the unit. One that runs has what it was started with.
  const next = { flags: readFlags(unit?.words ?? running?.words ?? []), file: json }
  const inUse = running === undefined ? next : { flags: readFlags(running.words), file: json }
  lines.push(...checkConflicts(next, file?.path ?? ''), ...checkBip(next), ...checkRange(next))
  const { subnetFile } = docker
  if (isAsleep)
    return lines.length > 0
      ? lines
      : [ok(CHECK, 'agree with each other; Docker does not run and is not enabled, so the subnet is not compared')]
  if (subnetFile === undefined) return lines.length > 0 ? lines : [ok(CHECK, 'agree with each other')]
  if (lines.length === 0)
    for (const { code, text, remedy } of dockerDisagreements(inUse, { ...docker, file: subnetFile }))
      lines.push(warn(code, text, remedy))
  return lines.length > 0 ? lines : [ok(CHECK, 'agree with each other and with the leased subnet')]
}

/**
 * What of it the daemon says when it starts. Without what its own unit is about to mend (the options file is made once the daemon is
 * ready) and without what is a condition once Docker runs.
 */
export function checkDockerAtStart({ subnetFile: _, unit, ...docker }: DockerFacts): readonly Line[] {
  return checkDocker({ docker: { ...docker, ...(unit && { unit: { ...unit, missing: [] } }) } })
}

/** Undefined: daemon.json is no JSON object. */
function fileOptions({ file }: DockerFacts): DockerOptions['file'] | undefined {
  return file === undefined ? new Map() : readDaemonJson(file.text)
}

/** Where the Docker that runs and subnet.env disagree; none as long as one of them is not there. */
export function runningDisagreements(docker: DockerFacts): readonly Condition[] {
  const { processes, subnetFile } = docker
  const running = processes.find(({ here }) => here)
  const file = fileOptions(docker)
  if (running === undefined || subnetFile === undefined || file === undefined) return []
  return dockerDisagreements({ flags: readFlags(running.words), file }, { ...docker, file: subnetFile })
}

/** Combinations that dockerd refuses. */
function checkConflicts(options: DockerOptions, path: string): Line[] {
  const twice = [...options.flags.keys()].filter((name) => options.file.has(name))
  const lines = twice.map((name) =>
    fail(
      CHECK,
      `${name} stands in ${path} and on dockerd's command line: Docker does not start`,
      `remove "${name}" from ${path}`,
    ),
  )
  const bridge = optionOf(options, 'bridge')
  const bip = optionOf(options, 'bip')
  if (bridge !== undefined && bridge !== 'none' && bip !== undefined)
    lines.push(
      fail(
        CHECK,
        `both bridge (${bridge}) and bip (${bip}) are given: Docker does not start`,
        'remove bridge (-b, --bridge), so that Docker makes its bridge of bip',
      ),
    )
  return lines
}

/** It is the bridge's own address, which can be neither the first nor the last one of its subnet. */
function checkBip(options: DockerOptions): Line[] {
  const bip = optionOf(options, 'bip')
  if (bip === undefined) return []
  const parsed = parseInterfaceCidr(bip)
  if (parsed === undefined)
    return [fail(CHECK, `bip ${bip} is no address with the length of its subnet: Docker does not start`, USE_LEASED)]
  const { address, length } = parsed
  const subnet = cidrOf(address, length)
  const bits = addressBits(familyOf(address))
  const first = networkAddress(subnet)
  const last = ipFromNumber(familyOf(address), ipToNumber(first) + (1n << BigInt(bits - length)) - 1n)
  if (bits - length < 2 || (address !== first && address !== last)) return []
  const text = `bip ${bip} is the ${address === first ? 'network' : 'broadcast'} address of its subnet, not one for the bridge: Docker does not start`
  return [fail(CHECK, text, `${firstHost(subnet)}/${length}; or ${USE_LEASED}`)]
}

function checkRange(options: DockerOptions): Line[] {
  const [bip, range] = [optionOf(options, 'bip'), optionOf(options, 'fixed-cidr')]
  const subnet = subnetOf(bip)
  const inner = parseCidr(range ?? '')
  if (subnet === undefined || inner === undefined || contains(subnet, inner)) return []
  const text = `fixed-cidr ${range} lies outside of ${subnet}, the subnet of the bridge: containers get no address that others reach`
  return [fail(CHECK, text, 'remove fixed-cidr, or name a part of the leased subnet')]
}

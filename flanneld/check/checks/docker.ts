import {
  type Cidr,
  cidrOf,
  contains,
  firstHost,
  parseCidr,
  parseInterfaceCidr,
  prefixLength,
} from '../../../lib/address.ts'
import type { SubnetFile } from '../../state/subnet-file.ts'
import { type DockerOptions, optionOf, readDaemonJson, readFlags } from '../docker-options.ts'
import type { DockerFacts, Facts } from '../facts.ts'
import { fail, type Line, ok, warn } from '../line.ts'

const USE_SCRIPT =
  'make its options by mk-docker-opts.sh and let its unit read them (EnvironmentFile=/run/docker_opts.env, $DOCKER_OPTS behind dockerd), then restart Docker'
const CHECK = 'docker-options'

export function checkDocker({ docker }: Facts): readonly Line[] {
  if (docker === undefined) return []
  const lines = [...checkRootless(docker), ...checkOptions(docker)]
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

function checkOptions(docker: DockerFacts): readonly Line[] {
  const { file, unit, processes } = docker
  const running = processes.find(({ here }) => here)
  if (file === undefined && unit === undefined && running === undefined) return []
  const json = file === undefined ? new Map<string, unknown>() : readDaemonJson(file.text)
  if (json === undefined)
    return [
      fail(
        CHECK,
        `${file?.path} is no JSON object: Docker does not start`,
        `correct it: dockerd --validate --config-file ${file?.path}`,
      ),
    ]
  const lines = (unit?.missing ?? []).map((path) =>
    warn(
      CHECK,
      `Docker's unit needs ${path}, which is not there: Docker does not start`,
      `have flanneld started first, and mk-docker-opts.sh write it`,
    ),
  )
  // The next start is by the unit. One that runs has what it was started with.
  const next = { flags: readFlags(unit?.words ?? running?.words ?? []), file: json }
  const inUse = { flags: readFlags(running?.words ?? unit?.words ?? []), file: json }
  lines.push(...checkConflicts(next, file?.path ?? ''), ...checkRange(next))
  const { subnetFile } = docker
  if (subnetFile === undefined) return lines.length > 0 ? lines : [ok(CHECK, 'agree with each other')]
  if (lines.length === 0) lines.push(...checkSubnet(inUse, subnetFile, docker))
  return lines.length > 0 ? lines : [ok(CHECK, 'agree with each other and with the leased subnet')]
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

function checkRange(options: DockerOptions): Line[] {
  const [bip, range] = [optionOf(options, 'bip'), optionOf(options, 'fixed-cidr')]
  const subnet = subnetOf(bip)
  const inner = parseCidr(range ?? '')
  if (subnet === undefined || inner === undefined || contains(subnet, inner)) return []
  const text = `fixed-cidr ${range} lies outside of ${subnet}, the subnet of the bridge: containers get no address that others reach`
  return [fail(CHECK, text, 'remove fixed-cidr, or name a part of the leased subnet')]
}

/** Against what the daemon has written to subnet.env. */
function checkSubnet(
  options: DockerOptions,
  { subnets, mtu, ipMasq }: SubnetFile,
  { subnetPath: path, hasCni }: DockerFacts,
): Line[] {
  const leased = subnets.get(4)
  const bridge = optionOf(options, 'bridge')
  if (leased === undefined || bridge !== undefined) return []
  const lines: Line[] = []
  const bip = optionOf(options, 'bip')
  const wanted = `${firstHost(leased)}/${prefixLength(leased)}`
  if (bip === undefined && !hasCni)
    lines.push(
      warn(
        CHECK,
        `Docker is not given the leased subnet ${leased} (no bip): its containers are not in the overlay`,
        USE_SCRIPT,
      ),
    )
  if (bip !== undefined && subnetOf(bip) !== leased)
    lines.push(warn(CHECK, `Docker's bip is ${bip}, and the leased subnet is ${leased} (${wanted})`, USE_SCRIPT))
  if (bip === undefined) return lines
  const dockers = Number(optionOf(options, 'mtu') ?? '1500')
  if (dockers > mtu)
    lines.push(
      warn(
        CHECK,
        `Docker's mtu is ${dockers}, and the overlay carries ${mtu} bytes (${path}): large packets are lost`,
        USE_SCRIPT,
      ),
    )
  if (ipMasq && optionOf(options, 'ip-masq') !== 'false' && optionOf(options, 'iptables') !== 'false')
    lines.push(
      warn(
        CHECK,
        'both Docker and flanneld masquerade: containers see packets of other hosts come from an address of the host',
        'give Docker --ip-masq=false, as mk-docker-opts.sh does',
      ),
    )
  return lines
}

function subnetOf(bip: string | undefined): Cidr | undefined {
  const parsed = parseInterfaceCidr(bip ?? '')
  return parsed === undefined ? undefined : cidrOf(parsed.address, parsed.length)
}

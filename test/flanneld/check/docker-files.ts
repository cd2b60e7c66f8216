import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { checkDocker } from '../../../flanneld/check/checks/docker.ts'
import type { DockerFacts } from '../../../flanneld/check/facts.ts'
import { readDocker } from '../../../flanneld/check/read/docker.ts'

export const SUBNET_ENV =
  'FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n'
export const UNIT = '[Service]\nExecStart=/usr/bin/dockerd -H fd:// \\\n  $DOCKER_OPTS\n[Install]\nExecStart=/none\n'
export const OPTIONS = 'DOCKER_OPTS=" --bip=10.5.72.1/24 --ip-masq=false --mtu=1450"\n'
export const unitPath = 'usr/lib/systemd/system/docker.service'
export const dropIn = 'etc/systemd/system/docker.service.d/flannel.conf'
export const GIVEN = '[Service]\nEnvironmentFile=-/run/docker_opts.env\n'
/** A host on which Docker has what mk-docker-opts wrote, by its paths without the first slash. */
export const good = {
  [unitPath]: UNIT,
  'etc/systemd/system/multi-user.target.wants/docker.service': '',
  [dropIn]: GIVEN,
  'run/docker_opts.env': OPTIONS,
  'subnet.env': SUBNET_ENV,
}

export type Files = Readonly<Record<string, string>>

/** What is read of a host with these files; `network`: the namespace of the process 12, if there is one. */
export async function dockerOf(files: Files, network = 'net:[1]'): Promise<DockerFacts> {
  const root = await mkdtemp(join(tmpdir(), 'check-'))
  try {
    for (const [name, text] of Object.entries(files)) {
      await mkdir(dirname(join(root, name)), { recursive: true })
      await writeFile(join(root, name), text)
    }
    for (const [pid, target] of [
      ['self', 'net:[1]'],
      ['12', network],
    ] as const) {
      await mkdir(join(root, 'proc', pid, 'ns'), { recursive: true })
      await symlink(target, join(root, 'proc', pid, 'ns/net'))
    }
    return await readDocker(join(root, 'subnet.env'), { root, addresses: new Map() })
  } finally {
    await rm(root, { recursive: true })
  }
}

/** What check says of it, a line each. */
export async function said(files: Files, network?: string): Promise<readonly string[]> {
  const lines = checkDocker({ docker: await dockerOf(files, network) })
  return lines.map(
    ({ level, check, text, remedy }) => `${level} ${check}: ${text}${remedy === undefined ? '' : ` -> ${remedy}`}`,
  )
}

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Lab } from '../../lab/lab.ts'
import type { ServiceManager } from './service-manager.ts'

const root = join(import.meta.dirname, '../..')
const docker = `[Unit]
StartLimitBurst=3
[Service]
EnvironmentFile=-/etc/default/docker
ExecStart=/usr/local/sbin/dockerd -H fd:// $DOCKER_OPTS
Restart=on-failure
`
const dockerd = '#!/bin/sh\necho "$@" >/run/dockerd\nexec sleep 1000000\n'

/** What each of these hosts has: the package, a Docker, and node where systemd's services look for it. */
export async function furnish(lab: Lab, manager: ServiceManager): Promise<void> {
  execFileSync(process.execPath, ['--import', 'tsx', 'scripts/package.ts', lab.folder], { cwd: root })
  const file = readdirSync(lab.folder).find((name) => name.endsWith('.deb'))
  assert.ok(file)
  await manager.copy(join(lab.folder, file), '/root/flanneld.deb')
  await manager.sh('cat >/usr/local/sbin/dockerd; chmod 755 /usr/local/sbin/dockerd', { input: dockerd })
  await manager.sh('cat >/etc/systemd/system/docker.service', { input: docker })
  await manager.sh(`command -v node >/dev/null || ln -s ${process.execPath} /usr/local/bin/node`)
}

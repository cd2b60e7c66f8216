import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Docker } from '../../lab/docker.ts'
import type { Host } from '../../lab/host.ts'
import { status } from '../e2e/world.ts'

const script = join(import.meta.dirname, '../../packaging/docker/mk-docker-opts.sh')

/** What mk-docker-opts makes of subnet.env. Its own masquerade is off when flannel's is on. */
export async function dockerOptions(host: Host): Promise<readonly string[]> {
  const file = join(host.folder, 'docker.env')
  await host.exec([script, '-f', host.paths.subnetFile, '-d', file, '-c'])
  const words = /^DOCKER_OPTS="(.*)"$/m.exec(await readFile(file, 'utf8'))?.[1]
  return (words ?? '').trim().split(' ')
}

/** Forwarding off, as after the boot of a host: dockerd then turns it on and sets the policy of FORWARD to DROP. */
export async function startDocker(host: Host, more: readonly string[] = [], data?: string): Promise<Docker> {
  await host.sysctl({ 'net/ipv4/ip_forward': 0 })
  return await Docker.start(host, [...(await dockerOptions(host)), ...more], data)
}

/** `CODE: TEXT` of each condition that begins so. */
export async function conditionsOf(host: Host, begin: string): Promise<readonly string[]> {
  const { conditions } = await status(host)
  return conditions
    .filter(({ code }: { code: string }) => code.startsWith(begin))
    .map(({ code, text, remedy }: { code: string; text: string; remedy: string }) => `${code}: ${text} -> ${remedy}`)
}

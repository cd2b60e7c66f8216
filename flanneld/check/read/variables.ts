import { readFile } from 'node:fs/promises'
import type { Environment } from '../../options/options.ts'
import type { VariableFacts } from '../facts.ts'
import { parseEnvironmentFile } from '../systemd-unit.ts'

/** Where packages of distributions keep what their units hand to flannel. */
const FILES = ['/etc/sysconfig/flanneld', '/etc/default/flanneld', '/etc/conf.d/flanneld', '/etc/flannel/options.env']

/** `given`: options that this program was given. */
export async function readVariables(env: Environment, given: Iterable<string>): Promise<VariableFacts> {
  const found: VariableFacts['found'][number][] = []
  const all = new Set(given)
  for (const [where, variables] of [
    ['the environment', new Map(Object.entries(env))],
    ...(await readFiles()),
  ] as const) {
    for (const [name, value] of variables) {
      if (name.startsWith('FLANNEL_ETCD') && value !== undefined && value !== '') found.push({ where, name, value })
      // Beside theirs, in the same file.
      if (name.startsWith('FLANNELD_')) all.add(name.slice('FLANNELD_'.length).toLowerCase().replaceAll('_', '-'))
    }
  }
  return { found, given: all }
}

async function readFiles(): Promise<readonly (readonly [string, ReadonlyMap<string, string>])[]> {
  const read = FILES.map(async (path) => {
    const text = await readFile(path, 'utf8').catch(() => '')
    return [path, parseEnvironmentFile(text)] as const
  })
  return await Promise.all(read)
}

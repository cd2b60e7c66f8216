import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { loadAll } from 'js-yaml'
import type { Json } from '../../lab/cluster/api.ts'

/** The objects of kube-flannel.yml. */
export async function manifestObjects(): Promise<readonly Json[]> {
  const objects: Json[] = loadAll(await readFile(join(import.meta.dirname, '../../kube-flannel.yml'), 'utf8'))
  return objects.filter((object) => object !== null)
}

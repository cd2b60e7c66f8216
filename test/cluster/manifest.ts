import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { loadAll } from 'js-yaml'
import type { Json } from '../../lab/cluster/api.ts'

/** The objects of kube-flannel.yml. */
export async function manifestObjects(): Promise<readonly Json[]> {
  const objects: Json[] = loadAll(await readFile(join(import.meta.dirname, '../../kube-flannel.yml'), 'utf8'))
  return objects.filter((object) => object !== null)
}

/** The same with these fields in net-conf.json. */
export async function withNetConf(fields: object): Promise<readonly Json[]> {
  return (await manifestObjects()).map((object) => {
    if (object.kind !== 'ConfigMap') return object
    const netConf = { ...JSON.parse(object.data['net-conf.json']), ...fields }
    return { ...object, data: { ...object.data, 'net-conf.json': JSON.stringify(netConf) } }
  })
}

/** The same with another container of the daemon. */
export function withContainer(objects: readonly Json[], change: (container: Json) => Json): readonly Json[] {
  return objects.map((object) => {
    if (object.kind !== 'DaemonSet') return object
    const copy: Json = structuredClone(object)
    const { spec } = copy.spec.template
    spec.containers = spec.containers.map(change)
    return copy
  })
}

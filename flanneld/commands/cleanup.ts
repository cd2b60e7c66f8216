import { rm } from 'node:fs/promises'
import { removeCni } from '../cni/removal.ts'
import type { Options } from '../options/options.ts'
import { type ReductionNeeds, reduceHost } from './reduction.ts'

/**
 * `flanneld cleanup`: makes the kernel equal to nothing of ours: devices, routes, neighbours, FDB entries, rules of this
 * instance, then its conflist, subnet.env and the state directory's files. The lease in the store is left to run out: a host that
 * starts again within a day takes it back.
 */
export async function runCleanup(needs: ReductionNeeds, options: Options): Promise<number> {
  return await reduceHost(needs, options, {
    keep: () => [],
    afterwards: async ({ isOnRecord, ...host }) => {
      const done = await removeCni({ ...needs, ...host }, options)
      if (!isOnRecord) return done
      await rm(options.subnetFile, { force: true })
      return [...done, `rm -f ${options.subnetFile}`]
    },
  })
}

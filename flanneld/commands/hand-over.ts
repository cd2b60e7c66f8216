import { rm } from 'node:fs/promises'
import { adoptedByFlannel } from '../adopted-by-flannel.ts'
import type { Options } from '../options/options.ts'
import { instanceOf } from '../state/instance.ts'
import { lockFileOf } from '../state/instance-lock.ts'
import { type ReductionNeeds, reduceHost } from './reduction.ts'

/**
 * `flanneld hand-over`: leaves the host as flannel would have left it, so that flannel's daemon can be started in this
 * one's place. The node keeps its identity for the way back, and subnet.env tells flannel which subnet this host has.
 */
export async function runHandOver(needs: ReductionNeeds, options: Options): Promise<number> {
  return await reduceHost(needs, options, {
    keep: adoptedByFlannel,
    afterwards: async () => {
      const { statusSocket } = instanceOf(options)
      const files = [...(statusSocket === undefined ? [] : [statusSocket]), lockFileOf(options.subnetFile)]
      for (const file of files) await rm(file, { force: true })
      return files.map((file) => `rm -f ${file}`)
    },
  })
}

import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Capability } from '../../test/needs.ts'

export interface Suite {
  readonly name: string
  /** Folders below test/; none means: every folder that no other suite has. */
  readonly folders: readonly string[]
  readonly needs: readonly Capability[]
  /** The suite is ended and counts as broken after this time, `minutesLong` in `npm run test:long`. */
  readonly minutes: number
  readonly minutesLong: number
  /**
   * Under Debian's kernel, in a virtual machine (lab/vm). Emulated, it keeps a core busy all the time, which the others leave half idle:
   * where there is more than one core it runs beside them.
   */
  readonly inMachine?: boolean
  /** So many side by side, where there is more than one core; more than cores, where much of what the tests do is wait. */
  readonly processes?: number
  /** Of several processes, files that begin first, so that none is left alone with them at the end. */
  readonly first?: readonly string[]
}

const slowUnitFiles = [
  'flanneld/switch/way-change.test.ts',
  'scripts/run-suite.test.ts',
  'simulation/simulation.test.ts',
  'subnet/kube/faults.test.ts',
]

/** In the order they run: what fails fastest comes first. */
export const suites: readonly Suite[] = [
  { name: 'unit', folders: [], needs: [], minutes: 6, minutesLong: 30, processes: 3, first: slowUnitFiles },
  { name: 'build', folders: ['build'], needs: [], minutes: 5, minutesLong: 5 },
  { name: 'etcd', folders: ['etcd'], needs: ['etcd'], minutes: 10, minutesLong: 60 },
  { name: 'chart', folders: ['chart'], needs: [], minutes: 10, minutesLong: 10 },
  { name: 'kube', folders: ['kube'], needs: ['etcd'], minutes: 5, minutesLong: 10 },
  { name: 'netns', folders: ['netns'], needs: ['netns'], minutes: 10, minutesLong: 60 },
  { name: 'lab', folders: ['lab'], needs: ['netns', 'etcd'], minutes: 10, minutesLong: 30 },
  { name: 'docker', folders: ['docker'], needs: ['netns', 'etcd', 'docker'], minutes: 25, minutesLong: 30 },
  { name: 'cluster', folders: ['cluster'], needs: ['netns', 'etcd', 'cluster'], minutes: 20, minutesLong: 60 },
  { name: 'e2e', folders: ['e2e'], needs: ['netns', 'etcd'], minutes: 45, minutesLong: 240, processes: 2 },
  { name: 'vm', folders: ['vm'], needs: ['vm'], minutes: 60, minutesLong: 150, inMachine: true },
]

/** Run by `npm run bench`, never as tests. */
const otherFolders = ['bench']

/** Paths of the suite's test files below `testFolder`, sorted but for those that come first. */
export function testFiles(suite: Suite, testFolder: string): readonly string[] {
  const taken = [...otherFolders, ...suites.flatMap(({ folders }) => folders)]
  const { first = [] } = suite
  const files = readdirSync(testFolder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts'))
    .filter((file) => {
      const inFolder = (folder: string) => file.startsWith(`${folder}/`)
      return suite.folders.length > 0 ? suite.folders.some(inFolder) : !taken.some(inFolder)
    })
    .sort()
  const absent = first.filter((file) => !files.includes(file))
  if (absent.length > 0) throw new Error(`suite ${suite.name} begins with ${absent.join(', ')}, which it does not have`)
  return [...new Set([...first, ...files])].map((file) => join(testFolder, file)).filter((file) => existsSync(file))
}

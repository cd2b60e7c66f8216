import { tablesConformance } from '../conformance/tables.ts'
import { realWorld } from './real-world.ts'

describe('conformance of the real kernel', function () {
  tablesConformance(realWorld(this))
})

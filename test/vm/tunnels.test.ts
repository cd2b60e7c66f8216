import './slow.ts'
import { execFileSync } from 'node:child_process'
import { tunnelsConformance } from '../conformance/tunnels.ts'
import { realWorld } from '../netns/real-world.ts'

describe('conformance of the tunnels of the real kernel', function () {
  // Nothing loads fou by itself.
  before(() => void execFileSync('modprobe', ['fou']))
  tunnelsConformance(realWorld(this))
})

import './slow.ts'
import { realDocker } from '../docker/real-docker.ts'
import { long } from '../long.ts'

// Overlays of containers cannot lie on the machine's root, which is one; /run is a tmpfs of its own.
const dataIn = '/run/docker-of-test'
// Each start of Docker takes a minute here.
if (long) realDocker({ type: 'ipip', carriesOn: true, slow: 10, dataIn, pingMs: 200 })

// The kernel that operators run is older than that of a test machine: what was proven on one is proven on the other.
import './slow.ts'
import '../netns/conformance.test.ts'
import '../netns/host.test.ts'
import '../netns/monitor.test.ts'

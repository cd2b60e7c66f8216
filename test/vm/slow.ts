// Emulated, everything takes ten times as long. Suites that are described after this was imported have a minute by
// default, not ten seconds: each takes over the limit of the root, of which a suite of the first level is told.
describe('emulation', function () {
  this.parent?.timeout(60_000)
})

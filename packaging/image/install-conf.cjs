#!/usr/bin/node
// install-conf FROM TO: an init container's copy of the conflist, as in flannel's image. The reader never sees half of it.
const { chmodSync, copyFileSync, renameSync } = require('node:fs')

const [from, to, ...more] = process.argv.slice(2)
if (to === undefined || more.length > 0) {
  process.stderr.write('usage: install-conf FROM TO\n')
  process.exit(2)
}
// In the same folder, or the rename would be a copy; with a dot, or a container runtime would read it.
const draft = to.replace(/[^/]*$/, (name) => `.${name}.${process.pid}`)
copyFileSync(from, draft)
chmodSync(draft, 0o644)
renameSync(draft, to)

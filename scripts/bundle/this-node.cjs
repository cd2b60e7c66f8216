'use strict'

// What bytecode depends on: the Node that writes it and the one that reads it must say the same.
exports.thisNode = () => Buffer.from(JSON.stringify([process.versions, process.arch, process.config]))

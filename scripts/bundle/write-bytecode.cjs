'use strict'

// node write-bytecode.cjs PROGRAM: compiles the program whole, runs `PROGRAM --version` as launcher.cjs would, and writes the bytecode
// to PROGRAM.v8, behind the description of this Node.

const { readFileSync, writeFileSync } = require('node:fs')
const { createRequire } = require('node:module')
const { dirname } = require('node:path')
const { setFlagsFromString } = require('node:v8')
const { Script } = require('node:vm')
const { thisNode } = require('./this-node.cjs')

const program = process.argv[2]
const file = `${program}.js`
process.argv = [process.execPath, program, '--version']
// Also what only a start calls, and no build. The flag must be as it was when the bytecode is written, for it is part of it.
setFlagsFromString('--no-lazy')
const script = new Script(readFileSync(file, 'latin1'), { filename: file })
setFlagsFromString('--lazy')
process.on('exit', () => writeFileSync(`${program}.v8`, Buffer.concat([thisNode(), script.createCachedData()])))
script.runInThisContext()(exports, createRequire(file), module, file, dirname(file))

'use strict'

// node write-bytecode.cjs PROGRAM: runs `PROGRAM --version` as launcher.cjs would, and writes the bytecode of all that was
// compiled for it to PROGRAM.v8, behind the description of this Node.

const { readFileSync, writeFileSync } = require('node:fs')
const { createRequire } = require('node:module')
const { dirname } = require('node:path')
const { Script } = require('node:vm')
const { thisNode } = require('./this-node.cjs')

const program = process.argv[2]
const file = `${program}.js`
process.argv = [process.execPath, program, '--version']
const script = new Script(readFileSync(file, 'latin1'), { filename: file })
process.on('exit', () => writeFileSync(`${program}.v8`, Buffer.concat([thisNode(), script.createCachedData()])))
script.runInThisContext()(exports, createRequire(file), module, file, dirname(file))

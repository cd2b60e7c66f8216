#!/usr/bin/env node
'use strict'

// Runs the program beside this file, FILE.js. FILE.v8 is its bytecode (write-bytecode.cjs): half of a start was compilation.
// It begins with the description of the Node that wrote it. Any other compiles as ever: V8 itself takes the bytecode of
// other builds of the same V8 for its own, and crashes.

const { readFileSync } = require('node:fs')
const { Script } = require('node:vm')

const file = `${__filename}.js`
const source = `(function (exports, require, module, __filename, __dirname) {${readFileSync(file, 'utf8')}\n})`
const script = new Script(source, { filename: file, cachedData: bytecode() })
script.runInThisContext()(exports, require, module, file, __dirname)

function bytecode() {
  const writer = Buffer.from(JSON.stringify([process.versions, process.arch, process.config]))
  try {
    const content = readFileSync(`${__filename}.v8`)
    return content.indexOf(writer) === 0 ? content.subarray(writer.length) : undefined
  } catch {
    return undefined
  }
}

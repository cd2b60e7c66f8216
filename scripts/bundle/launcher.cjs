#!/usr/bin/env node
'use strict'

// Runs the program beside this file, FILE.js: one function, in ASCII, so that its text is never copied. FILE.v8 is its bytecode
// (write-bytecode.cjs), because half of a start was compilation. It begins with the description of the Node that wrote it;
// any other compiles as ever. V8 alone would take the bytecode of other builds of the same V8 for its own, and crash.

const { readFileSync } = require('node:fs')
const { Script } = require('node:vm')
const { thisNode } = require('./this-node.cjs')

const file = `${__filename}.js`
const script = new Script(readFileSync(file, 'latin1'), { filename: file, cachedData: bytecode() })
script.runInThisContext()(exports, require, module, file, __dirname)

function bytecode() {
  const writer = thisNode()
  try {
    const content = readFileSync(`${__filename}.v8`)
    return content.indexOf(writer) === 0 ? content.subarray(writer.length) : undefined
  } catch {
    return undefined
  }
}

import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { parseSource, type SourceFile, sourceFiles } from './source-files.ts'

/** Which folder may import what, by the beginning of a path; Documentation/design has the picture. Types count as well. */
const layers: Readonly<Record<string, readonly string[]>> = {
  lib: ['lib/'],
  subnet: ['lib/', 'subnet/'],
  kernel: ['lib/', 'kernel/'],
  backends: ['lib/', 'subnet/', 'kernel/objects.ts', 'kernel/table.ts', 'backends/'],
  flanneld: ['lib/', 'subnet/', 'kernel/', 'backends/', 'flanneld/', 'package.json'],
  // The images of the cluster's pods are written as the product's own.
  lab: ['lib/', 'kernel/ffi/', 'lab/', 'scripts/image/', 'scripts/package/'],
}
/** The one file that crosses: the udp worker reads and writes the tun itself. */
const exceptions: Readonly<Record<string, string>> = { 'backends/udp/worker.ts': 'kernel/ffi/' }

/** A package may be imported only where its place is, so that it can be replaced there. */
const packages: Readonly<Record<string, readonly string[]>> = {
  koffi: ['kernel/ffi/', 'lab/enter-namespace.ts'],
  '@grpc/grpc-js': ['subnet/etcd/'],
  protobufjs: ['subnet/etcd/'],
  'js-yaml': ['subnet/kube/access.ts'],
  'ipaddr.js': ['lib/'],
  re2js: ['flanneld/'],
  yargs: ['flanneld/', 'lab/'],
}

/** Pure: the same input gives the same output, on any machine, at any time. `flanneld/commands/plan.ts` is a command, not a plan. */
const planFile =
  /^(?!flanneld\/commands\/)(.*[/-])?(plan|planner|peer-fold|peer-traits|choose-way|claims|guard-peers|guard-rules|ipv4-tunnel|host-gw|ipip|alloc|allocator|diff|pacing|order|ownership|objects|desired|kinds?|words|traffic-rules|packet-paths|subnet-file|external-interface|lease-codec|network-config)\.ts$/

const product = ['lib', 'subnet', 'kernel', 'backends', 'flanneld']
const files = sourceFiles(Object.keys(layers))

describe('import rule', () => {
  for (const [folder, allowed] of Object.entries(layers)) {
    it(`${folder} imports only ${allowed.join(' ')}`, () => {
      const wrong = imports('file', inFolder(folder)).filter(
        ({ from, target }) => ![...allowed, exceptions[from] ?? '-'].some((start) => target.startsWith(start)),
      )
      assert.deepEqual(lines(wrong), [])
    })
  }

  it('names files that exist', () => {
    assert.deepEqual(lines(imports('file').filter(({ target }) => !existsSync(target))), [])
  })

  it('keeps each package in its place', () => {
    const wrong = imports('package').filter(
      ({ from, target }) => !(packages[target] ?? []).some((start) => from.startsWith(start)),
    )
    assert.deepEqual(lines(wrong), [])
  })

  it('lets plan files see neither Node nor a clock', () => {
    // By way of kernel/objects.ts plans see every kind.
    const kinds = reachable('kernel/objects.ts')
    const plans = files.filter(({ path }) => planFile.test(path) || kinds.has(path))
    const impure = imports('node', plans).concat(
      imports('file', plans).filter(({ target }) => target === 'lib/clock.ts'),
    )
    assert.deepEqual(lines(impure), [])
    assert.deepEqual(users(plans, ['Date.now', 'new Date()', 'performance', 'process', 'fetch']), [])
  })

  it('lets only flanneld/main.ts read process', () => {
    const others = files.filter(({ path }) => product.includes(path.split('/')[0] ?? '') && path !== 'flanneld/main.ts')
    assert.deepEqual(lines(imports('node', others).filter(({ target }) => target === 'node:process')), [])
    assert.deepEqual(users(others, ['process', 'globalThis']), [])
  })

  it('lets only lib/clock.ts know the time', () => {
    // How long one turn of the event loop has lasted is a question to the real time, whatever the clock. grpc-js compares a
    // deadline with the real time of day. main.ts is the edge of the process, and ends it when a stop takes too long.
    const exempt = ['lib/clock.ts', 'kernel/netlink/channel.ts', 'subnet/etcd/connection.ts', 'flanneld/main.ts']
    const others = files.filter(({ path }) => !exempt.includes(path))
    // setImmediate is not among them: it lets others run and waits for no time.
    assert.deepEqual(
      users(others, ['Date.now', 'new Date()', 'performance', 'setTimeout', 'setInterval', 'scheduler']),
      [],
    )
  })

  it('has no circle of files', () => {
    assert.equal(circle(), undefined)
  })
})

describe('reading of a source file', () => {
  const read = (text: string) => parseSource('kernel/x.ts', text)

  it('finds imports of every form', () => {
    const text = `
      import type { A } from './a.ts'
      import { type B } from '../lib/b.ts'
      import './c.ts'
      export * from 'yargs/helpers'
      export type { D } from '@grpc/grpc-js'
      const e = await import('node:fs')
      type F = import('./f.ts').F`
    assert.deepEqual(
      read(text).imports.map(({ target, kind, typeOnly }) => `${kind} ${target}${typeOnly ? ' type' : ''}`),
      [
        'file kernel/a.ts type',
        'file lib/b.ts type',
        'file kernel/c.ts',
        'package yargs',
        'package @grpc/grpc-js type',
        'node node:fs',
        'file kernel/f.ts type',
      ],
    )
  })

  for (const text of [
    'process.exit()',
    'const { env } = process',
    'f({ process })',
    'x[process.pid]',
    'globalThis.y = process',
  ]) {
    it(`sees process in ${text}`, () => assert.ok(read(text).names.has('process')))
  }

  for (const text of [
    'child.process',
    'f({ process: 1 })',
    'let a: NodeJS.process',
    'class A { process() {} }',
    "'process'",
    'const { process } = input; f(process.pid)',
  ]) {
    it(`sees no process in ${text}`, () => assert.ok(!read(text).names.has('process')))
  }

  it('tells reading the clock from writing a time', () => {
    for (const text of ['new Date()', 'Date.now']) assert.ok(read(text).names.has(text))
    const names = read('new Date(wall).toISOString() + Date.parse(text)').names
    assert.ok(!names.has('new Date()') && !names.has('Date.now'))
  })
})

interface Edge {
  readonly from: string
  readonly target: string
}

function inFolder(folder: string): readonly SourceFile[] {
  return files.filter(({ path }) => path.startsWith(`${folder}/`))
}

function imports(kind: 'file' | 'node' | 'package', of = files): readonly Edge[] {
  return of.flatMap(({ path, imports }) =>
    imports.filter((one) => one.kind === kind).map(({ target }) => ({ from: path, target })),
  )
}

function lines(edges: readonly Edge[]): readonly string[] {
  return edges.map(({ from, target }) => `${from} imports ${target}`)
}

function users(of: readonly SourceFile[], globals: readonly string[]): readonly string[] {
  return of.flatMap(({ path, names }) =>
    globals.filter((name) => names.has(name)).map((name) => `${path} uses ${name}`),
  )
}

/** A file with all that it imports, and they in turn; `lib` answers for itself. */
function reachable(path: string): ReadonlySet<string> {
  const found = new Set([path])
  for (const from of found) {
    const targets = imports(
      'file',
      files.filter((file) => file.path === from),
    )
    for (const { target } of targets) if (!target.startsWith('lib/')) found.add(target)
  }
  return found
}

/** The files of one circle in order, or undefined when there is none. */
function circle(): string | undefined {
  const targets = new Map(files.map((file) => [file.path, imports('file', [file]).map(({ target }) => target)]))
  const done = new Set<string>()
  const visit = (file: string, way: readonly string[]): string | undefined => {
    if (way.includes(file)) return [...way.slice(way.indexOf(file)), file].join(' -> ')
    if (done.has(file)) return undefined
    for (const target of targets.get(file) ?? []) {
      const found = visit(target, [...way, file])
      if (found !== undefined) return found
    }
    done.add(file)
    return undefined
  }
  return files.reduce<string | undefined>((found, { path }) => found ?? visit(path, []), undefined)
}

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type ParseResult, parseSync, Visitor } from 'oxc-parser'

type Program = ParseResult['program']

const root = join(import.meta.dirname, '..')

export interface Import {
  /** A path from the root of the project, `node:...`, or the name of a package. */
  readonly target: string
  readonly kind: 'file' | 'node' | 'package'
  /** Erased at run time. */
  readonly typeOnly: boolean
}

export interface SourceFile {
  readonly path: string
  readonly imports: readonly Import[]
  /**
   * Every name in the file that is neither a property, a key nor declared in it: of `child.process` only `child`. `Date.now` and
   * `new Date()` stand for themselves, since `new Date(x)` only writes a given time in another way.
   */
  readonly names: ReadonlySet<string>
}

/** All TypeScript files below the folders, parsed. */
export function sourceFiles(folders: readonly string[]): readonly SourceFile[] {
  return folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => join(folder, file))
      .sort()
      .map((path) => parseSource(path, readFileSync(join(root, path), 'utf8'))),
  )
}

export function parseSource(path: string, text: string): SourceFile {
  const { module, program, errors } = parseSync(path, text)
  if (errors[0] !== undefined) throw new Error(`${path}: ${errors[0].message}`)
  const found: { specifier: string; typeOnly: boolean }[] = []
  for (const { moduleRequest, entries, start, end } of module.staticImports) {
    const wholeType = /^import\s+type\b/.test(text.slice(start, end))
    const typeOnly = wholeType || (entries.length > 0 && entries.every(({ isType }) => isType))
    found.push({ specifier: moduleRequest.value, typeOnly })
  }
  for (const { isType, moduleRequest } of module.staticExports.flatMap(({ entries }) => entries)) {
    if (moduleRequest !== null) found.push({ specifier: moduleRequest.value, typeOnly: isType })
  }
  for (const { moduleRequest } of module.dynamicImports) {
    // What is imported by a computed name cannot be judged; the quotes tell the two apart.
    const name = /^(['"`])([^$]*)\1$/.exec(text.slice(moduleRequest.start, moduleRequest.end))?.[2]
    if (name === undefined) throw new Error(`${path}: import() of a computed name`)
    found.push({ specifier: name, typeOnly: false })
  }
  const imports = [...found, ...importTypes(program)]
  return {
    path,
    imports: imports.map(({ specifier, typeOnly }) => ({ ...resolve(path, specifier), typeOnly })),
    names: namesIn(program),
  }
}

/** `import('./x.ts').Y` in a type. */
function importTypes(program: Program): { specifier: string; typeOnly: boolean }[] {
  const found: { specifier: string; typeOnly: boolean }[] = []
  new Visitor({ TSImportType: ({ source }) => found.push({ specifier: source.value, typeOnly: true }) }).visit(program)
  return found
}

function namesIn(program: Program): ReadonlySet<string> {
  const places = new Map<number, string>()
  const exempt = new Set<number>()
  const key = (node: { computed: boolean; key: { start: number } }) => {
    if (!node.computed) exempt.add(node.key.start)
  }
  const clockReads = new Set<string>()
  const declared = new Set<string>()
  const declare = (node: { type: string; name?: string }) => {
    if (node.type === 'Identifier' && node.name !== undefined) declared.add(node.name)
  }
  new Visitor({
    Identifier: ({ start, name }) => places.set(start, name),
    MemberExpression: ({ computed, object, property }) => {
      if (!computed) exempt.add(property.start)
      const read = [object, property].map((node) => (node.type === 'Identifier' ? node.name : '')).join('.')
      if (read === 'Date.now') clockReads.add(read)
    },
    Property: (node) => {
      if (!node.shorthand) key(node)
    },
    MethodDefinition: key,
    PropertyDefinition: key,
    TSPropertySignature: key,
    TSMethodSignature: key,
    NewExpression: ({ callee, arguments: given }) => {
      if (callee.type === 'Identifier' && callee.name === 'Date' && given.length === 0) clockReads.add('new Date()')
    },
    ObjectPattern: ({ properties }) => {
      for (const { value } of properties.filter((one) => one.type === 'Property')) declare(value)
    },
    VariableDeclarator: ({ id }) => declare(id),
    FunctionDeclaration: ({ params }) => params.forEach(declare),
    ArrowFunctionExpression: ({ params }) => params.forEach(declare),
    TSQualifiedName: ({ right }) => exempt.add(right.start),
  }).visit(program)
  const used = [...places].filter(([start]) => !exempt.has(start)).map(([, name]) => name)
  return new Set([...used.filter((name) => !declared.has(name)), ...clockReads])
}

function resolve(from: string, specifier: string): Pick<Import, 'target' | 'kind'> {
  if (specifier.startsWith('.')) return { kind: 'file', target: join(dirname(from), specifier) }
  if (specifier.startsWith('node:')) return { kind: 'node', target: specifier }
  const parts = specifier.split('/')
  return { kind: 'package', target: parts.slice(0, specifier.startsWith('@') ? 2 : 1).join('/') }
}

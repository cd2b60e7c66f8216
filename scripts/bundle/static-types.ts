import protobuf from 'protobufjs'

/** What a side of a call does with its messages. Who only asks never reads a request nor writes a response. */
const WRITING = ['ctor', 'fromObject', 'encode'] as const
const READING = ['ctor', 'decode', 'toObject'] as const

/** The names that generated functions take from around them. */
const SCOPE = 'Reader Writer types util'

/** How they write an integer of 64 bits in digits, and what does the same without a division for each few of them: leases have four. */
const DIGITS = 'util.Long.prototype.toString.call('
const decimal = `function decimal({ high, low, unsigned }) {
  return high === 0 ? String(low >>> 0) : String((BigInt(unsigned ? high >>> 0 : high) << 32n) | BigInt(low >>> 0));
}`

/**
 * The text of a CommonJS module that exports `services`: the methods of a descriptor, as `grpc-definition.ts` wants them. The functions
 * of each message are those that protobufjs would generate when they are first called, as plain text: nothing is generated at run time.
 */
export function staticModule(descriptor: protobuf.INamespace): string {
  const scope = [...String(protobuf.Type.prototype.setup).matchAll(/^ +(\w+) *:/gm)].map(([, name]) => name)
  if ([...new Set(scope)].sort().join(' ') !== SCOPE)
    throw new Error(`protobufjs generates functions around which there is ${scope.join(', ')}: adapt static-types.ts`)
  const root = protobuf.Root.fromJSON(descriptor).resolveAll()
  const services = allBelow(root).filter((one) => one instanceof protobuf.Service)
  const methods = services.flatMap((service) => service.methodsArray)
  const written = allNeeded(methods.map(({ resolvedRequestType }) => resolvedRequestType))
  const read = allNeeded(methods.map(({ resolvedResponseType }) => resolvedResponseType))
  const types = [...new Set([...written, ...read])]
  return [
    "const { Reader, Writer, util } = require('protobufjs/minimal');",
    decimal,
    // Messages contain each other, so all of them exist before any has functions.
    ...types.map((type) => `const ${nameOf(type)} = ${type instanceof protobuf.Enum ? enumText(type) : '{}'};`),
    ...types.flatMap((type) => {
      if (type instanceof protobuf.Enum) return []
      return messageText(type, [...(written.has(type) ? WRITING : []), ...(read.has(type) ? READING : [])])
    }),
    `exports.services = {${services.map(serviceText).join(',\n')}}`,
  ].join('\n')
}

type Described = protobuf.Type | protobuf.Enum

function allBelow(namespace: protobuf.NamespaceBase): readonly protobuf.ReflectionObject[] {
  return namespace.nestedArray.flatMap((one) => [one, ...(one instanceof protobuf.Namespace ? allBelow(one) : [])])
}

/** The given types and those of their fields, to the bottom. */
function allNeeded(types: readonly (Described | null)[]): ReadonlySet<Described> {
  const needed = new Set<Described>()
  const add = (type: Described | null): void => {
    if (type === null || needed.has(type)) return
    needed.add(type)
    if (type instanceof protobuf.Type) for (const { resolvedType } of type.fieldsArray) add(resolvedType)
  }
  for (const type of types) add(type)
  return needed
}

function nameOf(type: protobuf.ReflectionObject): string {
  return type.fullName.slice(1).replaceAll('.', '_')
}

/** By name and, beneath, by number, as `protobuf.Enum` has them. */
function enumText({ values, valuesById }: protobuf.Enum): string {
  return `{ values: Object.assign(Object.create(${JSON.stringify(valuesById)}), ${JSON.stringify(values)}) }`
}

function messageText(type: protobuf.Type, functions: readonly (typeof WRITING | typeof READING)[number][]): string {
  type.setup()
  const texts = [...new Set(functions)].map((name) => {
    const text = String(type[name])
    const generated = name === 'ctor' || Object.hasOwn(type, name)
    if (!generated || !text.startsWith('function') || text.includes('[native code]'))
      throw new Error(`protobufjs generates no ${name} for ${type.fullName}: adapt static-types.ts`)
    return `${name}: ${text.replaceAll(DIGITS, 'decimal(')},`
  })
  const types = type.fieldsArray.map(({ resolvedType }) => (resolvedType === null ? 'null' : nameOf(resolvedType)))
  return `((types) => Object.assign(${nameOf(type)}, {\n${texts.join('\n')}\n}))([${types.join(', ')}]);`
}

function serviceText(service: protobuf.Service): string {
  const name = service.fullName.slice(1)
  const methods = service.methodsArray.map((method) => {
    const { resolvedRequestType: request, resolvedResponseType: response } = method
    if (request === null || response === null) throw new Error(`${name}.${method.name} names a type that is not there`)
    const about = {
      path: `/${name}/${method.name}`,
      requestStream: method.requestStream === true,
      responseStream: method.responseStream === true,
      originalName: camelCase(method.name),
    }
    return `${method.name}: { ...${JSON.stringify(about)}, request: ${nameOf(request)}, response: ${nameOf(response)} }`
  })
  return `${JSON.stringify(name)}: {\n${methods.join(',\n')}\n}`
}

/** `HashKV` -> `hashKv`: etcd3 calls methods by this name. */
function camelCase(name: string): string {
  const words = (name.match(/[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+/g) ?? [name]).map((word) => word.toLowerCase())
  return words.map((word, at) => (at === 0 ? word : word.charAt(0).toUpperCase() + word.slice(1))).join('')
}

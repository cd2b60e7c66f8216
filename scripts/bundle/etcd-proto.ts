import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Plugin } from 'esbuild'
import protobuf from 'protobufjs'

/** What subnet/etcd/ calls. The descriptor is read at each start: what nobody calls is left out. */
const CALLS: Readonly<Record<string, readonly string[]>> = {
  KV: ['Range', 'Txn'],
  Watch: ['Watch'],
  Lease: ['LeaseGrant', 'LeaseRevoke', 'LeaseTimeToLive'],
  Auth: ['Authenticate'],
}

const atStart = '(0, proto_loader_1.loadSync)(`$' + '{__dirname}/../proto/rpc.proto`,'

/**
 * etcd3 finds `rpc.proto` on disk and has @grpc/proto-loader parse it whenever it is loaded. In the bundle the descriptor is
 * inlined as JSON and read by `grpc-definition.ts`: no file is looked for, no parser is there, and the start is shorter.
 */
export function etcdProto(): Plugin {
  return {
    name: 'etcd-proto',
    setup(build) {
      build.onLoad({ filter: /[\\/]etcd3[\\/]lib[\\/]connection-pool\.js$/ }, async (args) => {
        const source = await readFile(args.path, 'utf8')
        if (!source.includes(atStart))
          throw new Error(`${args.path} loads its proto in another way: adapt etcd-proto.ts`)
        return {
          contents: source.replace(atStart, "(0, proto_loader_1.fromJSON)(require('etcd3:rpc.json'),"),
          loader: 'js',
        }
      })
      build.onResolve({ filter: /^@grpc\/proto-loader$/ }, (args) => {
        // grpc-js has proto-loader too, for its server's channelz and orca, which nobody here turns on.
        return args.importer.includes('/etcd3/') ? { path: join(import.meta.dirname, 'grpc-definition.ts') } : undefined
      })
      build.onResolve({ filter: /^etcd3:rpc\.json$/ }, (args) => ({
        path: join(dirname(args.importer), '../proto/rpc.proto'),
        namespace: 'etcd3-proto',
      }))
      build.onLoad({ filter: /.*/, namespace: 'etcd3-proto' }, async (args) => ({
        contents: JSON.stringify(usedPart(await etcdDescriptor(args.path))),
        loader: 'json',
      }))
    },
  }
}

/** etcd3's own proto, with field names as written, as it asks proto-loader for them. */
export async function etcdDescriptor(protoFile: string): Promise<protobuf.INamespace> {
  return (await new protobuf.Root().load(protoFile, { keepCase: true })).toJSON()
}

/** The called methods, and all messages that these need. */
export function usedPart(descriptor: protobuf.INamespace): protobuf.INamespace {
  const packages = Object.values(descriptor.nested ?? {}) as protobuf.INamespace[]
  const all = new Map(packages.flatMap(({ nested }) => Object.entries(nested ?? {})))
  const services = new Map<string, protobuf.IService>()
  const needed: string[] = []
  for (const [name, calls] of Object.entries(CALLS)) {
    const service = all.get(name) as protobuf.IService
    const methods = Object.entries(service.methods).filter(([method]) => calls.includes(method))
    services.set(name, { methods: Object.fromEntries(methods) })
    needed.push(...methods.flatMap(([, { requestType, responseType }]) => [requestType, responseType]))
  }
  const messages = new Set<string>()
  for (let type = needed.pop(); type !== undefined; type = needed.pop()) {
    const name = type.slice(type.lastIndexOf('.') + 1)
    const message = all.get(name)
    if (message === undefined || messages.has(name)) continue
    messages.add(name)
    needed.push(...fieldTypes(message))
  }
  const part = ({ nested, ...rest }: protobuf.INamespace): protobuf.INamespace => {
    const kept = Object.entries(nested ?? {}).filter(([name]) => services.has(name) || messages.has(name))
    return { ...rest, nested: Object.fromEntries(kept.map(([name, one]) => [name, services.get(name) ?? one])) }
  }
  const parts = Object.entries(descriptor.nested ?? {}).map(([name, one]) => [name, part(one as protobuf.INamespace)])
  return { ...descriptor, nested: Object.fromEntries(parts) }
}

function fieldTypes(message: protobuf.AnyNestedObject): readonly string[] {
  const { fields = {}, nested = {} } = message as Partial<protobuf.IType>
  return [...Object.values(fields).map(({ type }) => type), ...Object.values(nested).flatMap(fieldTypes)]
}

import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Plugin } from 'esbuild'
import protobuf from 'protobufjs'
import { staticModule } from './static-types.ts'

/** What subnet/etcd/ calls. What nobody calls is left out. */
const CALLS: Readonly<Record<string, readonly string[]>> = {
  KV: ['Range', 'Txn'],
  Watch: ['Watch'],
  Lease: ['LeaseGrant', 'LeaseRevoke', 'LeaseTimeToLive'],
  Auth: ['Authenticate'],
  Maintenance: ['Status'],
}

const atStart = '(0, proto_loader_1.loadSync)(`$' + '{__dirname}/../proto/rpc.proto`,'

/**
 * etcd3 finds `rpc.proto` on disk, has @grpc/proto-loader parse it whenever it is loaded, and protobufjs generate code from it. In the
 * bundle that code is there already (`static-types.ts`), made into a definition by `grpc-definition.ts`: no file is looked for, neither
 * parser nor generator is there.
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
          contents: source.replace(atStart, "(0, proto_loader_1.definition)(require('etcd3:rpc'),"),
          loader: 'js',
        }
      })
      build.onResolve({ filter: /^@grpc\/proto-loader$/ }, (args) => {
        if (args.importer.includes('/etcd3/')) return { path: join(import.meta.dirname, 'grpc-definition.ts') }
        // grpc-js would have it for its server's channelz and orca, which nobody here turns on.
        return { path: args.path, external: true }
      })
      build.onResolve({ filter: /^etcd3:rpc$/ }, (args) => ({
        path: join(dirname(args.importer), '../proto/rpc.proto'),
        namespace: 'etcd3-proto',
      }))
      build.onLoad({ filter: /.*/, namespace: 'etcd3-proto' }, async (args) => ({
        contents: staticModule(usedPart(await etcdDescriptor(args.path))),
        loader: 'js',
        resolveDir: import.meta.dirname,
      }))
    },
  }
}

/** etcd3's own proto, with field names as written, as it asks proto-loader for them. */
export async function etcdDescriptor(protoFile: string): Promise<protobuf.INamespace> {
  return (await new protobuf.Root().load(protoFile, { keepCase: true })).toJSON()
}

/** Of the services what is called. */
export function usedPart(descriptor: protobuf.INamespace): protobuf.INamespace {
  const nested = Object.entries(descriptor.nested ?? {}).flatMap(([name, one]): readonly [string, object][] => {
    if ('methods' in one) return name in CALLS ? [[name, { ...one, methods: called(name, one.methods) }]] : []
    return [[name, 'nested' in one && !('fields' in one) ? usedPart(one) : one]]
  })
  return { ...descriptor, nested: Object.fromEntries(nested) as NonNullable<protobuf.INamespace['nested']> }
}

function called(
  service: string,
  methods: Readonly<Record<string, protobuf.IMethod>>,
): Record<string, protobuf.IMethod> {
  return Object.fromEntries(
    (CALLS[service] ?? []).map((name) => {
      const method = methods[name]
      if (method === undefined) throw new Error(`etcd3 knows no ${service}.${name}: adapt etcd-proto.ts`)
      return [name, method]
    }),
  )
}

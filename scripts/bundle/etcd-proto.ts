import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Plugin } from 'esbuild'
import protobuf from 'protobufjs'

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
        contents: JSON.stringify(await etcdDescriptor(args.path)),
        loader: 'json',
      }))
    },
  }
}

/** etcd3's own proto, with field names as written, as it asks proto-loader for them. */
export async function etcdDescriptor(protoFile: string): Promise<protobuf.INamespace> {
  return (await new protobuf.Root().load(protoFile, { keepCase: true })).toJSON()
}

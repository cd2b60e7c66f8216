import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Plugin } from 'esbuild'
import protobuf from 'protobufjs'

const atStart = '(0, proto_loader_1.loadSync)(`$' + '{__dirname}/../proto/rpc.proto`,'

/**
 * etcd3 parses `rpc.proto` from disk whenever it is loaded. In the bundle the parsed descriptor is inlined as JSON, so no file
 * is looked for and no parser runs at start.
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
      build.onResolve({ filter: /^etcd3:rpc\.json$/ }, (args) => ({
        path: join(dirname(args.importer), '../proto/rpc.proto'),
        namespace: 'etcd3-proto',
      }))
      build.onLoad({ filter: /.*/, namespace: 'etcd3-proto' }, async (args) => {
        const root = await new protobuf.Root().load(args.path, { keepCase: true })
        return { contents: JSON.stringify(root.toJSON()), loader: 'json' }
      })
    },
  }
}

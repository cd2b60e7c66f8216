import { readFile } from 'node:fs/promises'
import type { Plugin } from 'esbuild'

/** Modules that grpc-js's index loads and hands on, and that a client with one address and no service configuration never calls. */
const UNUSED = [
  'server',
  'server-credentials',
  'server-interceptors',
  'status-builder',
  'orca',
  'experimental',
  'load-balancer-round-robin',
  'load-balancer-outlier-detection',
  'load-balancer-weighted-round-robin',
]

/** Leaves grpc-js's server, and its load balancers other than `pick_first`, out of the bundle. */
export function grpcClient(): Plugin {
  return {
    name: 'grpc-client',
    setup(build) {
      build.onLoad({ filter: /[\\/]@grpc[\\/]grpc-js[\\/]build[\\/]src[\\/]index\.js$/ }, async (args) => {
        return { contents: clientPart(await readFile(args.path, 'utf8'), args.path), loader: 'js' }
      })
    },
  }
}

/** @throws Error when the index is not as expected */
export function clientPart(source: string, path: string): string {
  return UNUSED.reduce((text, name) => without(text, name, path), source)
}

/** Takes out all lines that load, hand on or set up a module. Each is a statement of its own in what TypeScript makes. */
function without(source: string, name: string, path: string): string {
  const variable = new RegExp(`^(?:const|var) (\\w+) = require\\("\\./${name}"\\);$`, 'm').exec(source)?.[1]
  const lines = source.split('\n')
  const kept = lines.filter((line) => variable === undefined || !new RegExp(`\\b${variable}\\b`).test(line))
  const statement = /^(?:const|var|Object\.defineProperty\(exports,|exports\.\w+ =| {4}\w+\.setup\(\)).*;$/
  if (variable === undefined || !lines.every((line) => kept.includes(line) || statement.test(line)))
    throw new Error(`${path} loads ${name} in another way: adapt grpc-client.ts`)
  return kept.join('\n')
}

import { cp, mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Plugin } from 'esbuild'

/**
 * koffi finds its `.node` file by walking node_modules, which does not exist beside the bundle. The bundled koffi loads
 * `koffi/<platform>` beside the file it runs from instead. Node resolves symlinks of a main program before it sets `__dirname`,
 * so this holds for /usr/local/bin/flanneld -> /opt/flanneld/flanneld too.
 */
export function koffiNative(): Plugin {
  return {
    name: 'koffi-native',
    setup(build) {
      build.onLoad({ filter: /[\\/]koffi[\\/]src[\\/]koffi[\\/]src[\\/]static\.js$/ }, async (args) => {
        const source = await readFile(args.path, 'utf8')
        if (!source.includes('loadStatic'))
          throw new Error(`${args.path} no longer exports loadStatic: adapt koffi-native.ts`)
        return { contents: loader, loader: 'js' }
      })
    },
  }
}

const loader = `
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createRequire } from 'node:module'
export function loadStatic(platform) {
  const place = join(import.meta.dirname, 'koffi', platform, 'index.js')
  if (!existsSync(place)) {
    throw new Error('flanneld cannot call the C library on ' + platform + ': ' + place + ' is missing; this build carries ' + KOFFI_PLATFORMS)
  }
  return createRequire(import.meta.filename)(place)
}
`

/** Names such as `linux-x64` of koffi's platform packages that npm installed. */
export async function koffiPlatforms(nodeModules: string): Promise<readonly string[]> {
  const names = await readdir(join(nodeModules, '@koromix'))
  return names.filter((name) => name.startsWith('koffi-linux-')).map((name) => name.slice('koffi-'.length))
}

/** Copies each platform package whole: its index.js chooses between glibc and musl. */
export async function copyKoffi(nodeModules: string, dist: string, platforms: readonly string[]): Promise<void> {
  for (const platform of platforms) {
    const to = join(dist, 'koffi', platform)
    await mkdir(to, { recursive: true })
    await cp(join(nodeModules, '@koromix', `koffi-${platform}`), to, { recursive: true })
  }
}

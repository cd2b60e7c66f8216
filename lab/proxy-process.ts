import process from 'node:process'
import type { ProxyOptions } from './tcp-proxy.ts'
import { TcpProxy } from './tcp-proxy.ts'

// Runs a TcpProxy inside a namespace: node itself cannot listen in a second one. Driven over the IPC channel by
// namespace-proxy.ts; ends with it.

/** The first message has `options`, all others `call`; each is answered by one Reply with the same number. */
export type ProxyRequest =
  | { readonly n: number; readonly options: ProxyOptions }
  | { readonly n: number; readonly call: ProxyCall; readonly argument?: unknown }

export type ProxyCall = 'cut' | 'cutAfter' | 'setMode' | 'counts'

export interface ProxyReply {
  readonly n: number
  readonly value?: unknown
  readonly error?: string
}

let proxy: TcpProxy | undefined

process.on('message', (request: ProxyRequest) => {
  perform(request).then(
    (value) => reply({ n: request.n, value }),
    (cause: unknown) => reply({ n: request.n, error: String(cause) }),
  )
})
process.on('disconnect', () => process.exit(0))

async function perform(request: ProxyRequest): Promise<unknown> {
  if ('options' in request) {
    proxy = await TcpProxy.listen(request.options)
    return proxy.port
  }
  if (proxy === undefined) throw new Error('no proxy yet')
  switch (request.call) {
    case 'cut':
      return await proxy.cut()
    case 'cutAfter':
      return await proxy.cutAfter(request.argument as number)
    case 'setMode':
      return await proxy.setMode(request.argument as Parameters<TcpProxy['setMode']>[0])
    case 'counts':
      return await proxy.counts()
  }
}

function reply(message: ProxyReply): void {
  process.send?.(message)
}

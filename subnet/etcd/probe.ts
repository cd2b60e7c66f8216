import { once } from 'node:events'
import { connect } from 'node:net'
import { messageOf } from '../../lib/errors.ts'
import type { Endpoint } from './endpoints.ts'

/** Resolves when somebody takes a connection there, which is closed at once. @throws the system's error, or the signal's reason */
export async function probe({ authority }: Endpoint, signal: AbortSignal): Promise<void> {
  const socket = connect(addressOf(authority))
  try {
    await once(socket, 'connect', { signal })
  } catch (cause) {
    signal.throwIfAborted()
    // A name with several addresses has an error for each, and no text of its own.
    throw cause instanceof AggregateError ? new Error(cause.errors.map(messageOf).join(', '), { cause }) : cause
  } finally {
    socket.destroy()
  }
}

function addressOf(authority: string): { path: string } | { host: string; port: number } {
  if (authority.startsWith('unix:')) return { path: authority.slice('unix:'.length) }
  const colon = authority.lastIndexOf(':')
  return { host: authority.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(authority.slice(colon + 1)) }
}

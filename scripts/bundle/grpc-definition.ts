// Runs inside the bundle, in the place of @grpc/proto-loader: Documentation/decisions/0010-less-at-start.md says why.
import type { IConversionOptions } from 'protobufjs'

/** What `static-types.ts` writes for a message. */
interface Message {
  fromObject(object: object): object
  encode(message: object): { finish(): Uint8Array }
  decode(bytes: Uint8Array): object
  toObject(message: object, options: IConversionOptions): object
}

/** What grpc-js wants to know of a method, and etcd3 reads of it. */
interface About {
  readonly path: string
  readonly requestStream: boolean
  readonly responseStream: boolean
  readonly originalName: string
}

interface StaticMethod extends About {
  readonly request: Message
  readonly response: Message
}

interface Method extends About {
  readonly requestSerialize: (message: object) => Buffer
  readonly responseDeserialize: (bytes: Uint8Array) => object
}

type Services<T> = Readonly<Record<string, Readonly<Record<string, T>>>>

/**
 * The services by their full names, as @grpc/proto-loader gives them, without what only a server does, and without the descriptors of
 * the messages: these serve reflection only and cost half of etcd3's start.
 */
export function definition(
  { services }: { services: Services<StaticMethod> },
  options: IConversionOptions,
): Services<Method> {
  return each(services, (methods) =>
    each(methods, ({ request, response, ...about }) => ({
      ...about,
      requestSerialize: (message) => request.encode(request.fromObject(message)).finish() as Buffer,
      responseDeserialize: (bytes) => response.toObject(response.decode(bytes), options),
    })),
  )
}

function each<T, U>(record: Readonly<Record<string, T>>, change: (value: T) => U): Readonly<Record<string, U>> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value)]))
}

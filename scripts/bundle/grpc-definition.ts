// Runs inside the bundle, in the place of @grpc/proto-loader: Documentation/decisions/0002-bundle.md says why.
import protobuf from 'protobufjs/light.js'

/** What grpc-js wants to know of a method, and etcd3 reads of it. */
interface Method {
  readonly path: string
  readonly requestStream: boolean
  readonly responseStream: boolean
  readonly originalName: string
  readonly requestSerialize: (message: object) => Buffer
  readonly requestDeserialize: (bytes: Uint8Array) => object
  readonly responseSerialize: (message: object) => Buffer
  readonly responseDeserialize: (bytes: Uint8Array) => object
}

/**
 * The services of a descriptor by their full names, as `fromJSON` of @grpc/proto-loader gives them, without the descriptors
 * of the messages: these serve reflection only and cost half of etcd3's start.
 */
export function fromJSON(
  json: protobuf.INamespace,
  options: protobuf.IConversionOptions,
): Record<string, Record<string, Method>> {
  const root = protobuf.Root.fromJSON(json).resolveAll()
  const services = namespacesBelow(root).flatMap(({ nestedArray }) =>
    nestedArray.filter((one) => one instanceof protobuf.Service),
  )
  return Object.fromEntries(
    services.map((service) => {
      const name = service.fullName.slice(1)
      const methods = service.methodsArray.map((method) => [method.name, define(name, method, options)])
      return [name, Object.fromEntries(methods)]
    }),
  )
}

function namespacesBelow(namespace: protobuf.NamespaceBase): readonly protobuf.NamespaceBase[] {
  const nested = namespace.nestedArray.filter((one) => one instanceof protobuf.Namespace)
  return [namespace, ...nested.flatMap(namespacesBelow)]
}

function define(service: string, method: protobuf.Method, options: protobuf.IConversionOptions): Method {
  const { resolvedRequestType: request, resolvedResponseType: response } = method
  if (request === null || response === null) throw new Error(`${service}.${method.name} names a type that is not there`)
  return {
    path: `/${service}/${method.name}`,
    requestStream: method.requestStream === true,
    responseStream: method.responseStream === true,
    originalName: camelCase(method.name),
    requestSerialize: serialize(request),
    requestDeserialize: deserialize(request, options),
    responseSerialize: serialize(response),
    responseDeserialize: deserialize(response, options),
  }
}

function serialize(type: protobuf.Type) {
  return (message: object): Buffer => type.encode(type.fromObject(message)).finish() as Buffer
}

function deserialize(type: protobuf.Type, options: protobuf.IConversionOptions) {
  return (bytes: Uint8Array): object => type.toObject(type.decode(bytes), options)
}

/** `HashKV` -> `hashKv`: etcd3 calls methods by this name. */
function camelCase(name: string): string {
  const words = (name.match(/[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+/g) ?? [name]).map((word) => word.toLowerCase())
  return words.map((word, at) => (at === 0 ? word : word.charAt(0).toUpperCase() + word.slice(1))).join('')
}

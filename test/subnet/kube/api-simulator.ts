import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A Node object, as far as a test cares. */
export interface SimulatedNode {
  readonly metadata: { readonly name: string; readonly annotations?: Readonly<Record<string, string>> } & Record<
    string,
    unknown
  >
  readonly spec?: object
  readonly status?: object
}

/** Answers a request in place of the simulator; true: it has. */
export type Fault = (request: IncomingMessage, response: ServerResponse) => boolean

/** The part of the Kubernetes API that a lease store uses, for what a real server does only on bad days. */
export class ApiSimulator {
  /** Of every request, in order. */
  readonly requests: { readonly method: string; readonly url: string; readonly token: string | undefined }[] = []
  fault: Fault = () => false
  readonly #server: Server
  readonly #nodes = new Map<string, SimulatedNode>()
  readonly #events: { readonly revision: number; readonly type: string; readonly object: SimulatedNode }[] = []
  readonly #watches = new Set<{ send(event: object): void; end(): void }>()
  #revision = 100
  /** Older ones are expired. */
  #kept = 0

  constructor() {
    this.#server = createServer((request, response) => this.#answer(request, response))
  }

  async start(address = '127.0.0.1', port = 0): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(port, address, resolve))
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  get url(): URL {
    return new URL(`http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`)
  }

  get revision(): number {
    return this.#revision
  }

  /** How often the first page of a list was asked for. */
  get lists(): number {
    return this.requests.filter(({ method, url }) => method === 'GET' && /nodes\?limit=\d+$/.test(url)).length
  }

  node(name: string): SimulatedNode | undefined {
    return this.#nodes.get(name)
  }

  put(node: SimulatedNode): void {
    const { name } = node.metadata
    const type = this.#nodes.has(name) ? 'MODIFIED' : 'ADDED'
    this.#revision += 1
    const metadata = { uid: name, creationTimestamp: '2026-01-01T00:00:00Z', ...node.metadata }
    const object = { ...node, metadata: { ...metadata, resourceVersion: String(this.#revision) } }
    this.#nodes.set(name, object)
    this.#tell(type, object)
  }

  /** Tells all who watch of a new status of a Node, and forgets it: there may be millions. */
  beat(node: SimulatedNode, status: object): void {
    this.#revision += 1
    const { name } = node.metadata
    const metadata = { ...this.#nodes.get(name)?.metadata, ...node.metadata, resourceVersion: String(this.#revision) }
    this.send({ type: 'MODIFIED', object: { ...node, metadata, status } })
  }

  delete(name: string): void {
    const node = this.#nodes.get(name)
    if (node === undefined) return
    this.#nodes.delete(name)
    this.#revision += 1
    this.#tell('DELETED', { ...node, metadata: { ...node.metadata, resourceVersion: String(this.#revision) } })
  }

  /** Sends this to all who watch. */
  send(event: object): void {
    for (const watch of this.#watches) watch.send(event)
  }

  endWatches(): void {
    for (const watch of this.#watches) watch.end()
  }

  /** From now on nobody can go on from where it was. */
  expire(): void {
    this.#revision += 1
    this.#kept = this.#revision
  }

  #tell(type: string, object: SimulatedNode): void {
    this.#events.push({ revision: this.#revision, type, object })
    this.send({ type, object })
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { method = '', url = '', headers } = request
    this.requests.push({ method, url, token: headers.authorization?.replace('Bearer ', '') })
    if (this.fault(request, response)) return
    const { pathname, searchParams } = new URL(url, 'http://x')
    if (method === 'PATCH') this.#patch(pathname.split('/')[4] ?? '', request, response)
    else if (pathname.split('/').length > 4) this.#get(pathname.split('/')[4] ?? '', response)
    else if (searchParams.has('watch')) this.#watch(searchParams, response)
    else this.#list(searchParams, response)
  }

  #get(name: string, response: ServerResponse): void {
    const node = this.#nodes.get(name)
    if (node === undefined) sendJson(response, 404, { message: `nodes "${name}" not found` })
    else sendJson(response, 200, node)
  }

  #list(query: URLSearchParams, response: ServerResponse): void {
    const from = Number(query.get('continue') ?? 0)
    const limit = Number(query.get('limit'))
    const items = [...this.#nodes.values()].slice(from, from + limit)
    const more = from + limit < this.#nodes.size ? { continue: String(from + limit) } : {}
    const metadata = { resourceVersion: String(this.#revision), ...more }
    sendJson(response, 200, { kind: 'NodeList', apiVersion: 'v1', metadata, items })
  }

  #watch(query: URLSearchParams, response: ServerResponse): void {
    const since = Number(query.get('resourceVersion'))
    response.writeHead(200)
    response.flushHeaders()
    const watch = {
      send: (event: object) => void response.write(`${JSON.stringify(event)}\n`),
      end: () => void response.end(),
    }
    if (since < this.#kept) {
      watch.send({ type: 'ERROR', object: { code: 410, message: 'too old resource version' } })
      response.end()
      return
    }
    for (const { revision, type, object } of this.#events) if (revision > since) watch.send({ type, object })
    this.#watches.add(watch)
    response.on('close', () => this.#watches.delete(watch))
  }

  #patch(name: string, request: IncomingMessage, response: ServerResponse): void {
    let text = ''
    request.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
    request.on('end', () => {
      const node = this.#nodes.get(name)
      if (node === undefined) {
        sendJson(response, 404, { message: `nodes "${name}" not found` })
        return
      }
      const { metadata = {}, status = {} } = JSON.parse(text)
      const annotations = Object.entries({ ...node.metadata.annotations, ...metadata.annotations })
      const kept = Object.fromEntries(annotations.filter((entry): entry is [string, string] => entry[1] !== null))
      this.put({ ...node, metadata: { ...node.metadata, annotations: kept }, status: { ...node.status, ...status } })
      sendJson(response, 200, this.#nodes.get(name) ?? {})
    })
  }
}

export function sendJson(
  response: ServerResponse,
  code: number,
  body: object,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(code, { 'content-type': 'application/json', ...headers })
  response.end(JSON.stringify(body))
}

/** A Node of flannel's vxlan; `n` gives its podCIDR 10.5.N.0/24 and its address 192.168.64.N. */
export function flannelNode(n: number, more: Readonly<Record<string, string>> = {}): SimulatedNode {
  const prefix = 'flannel.alpha.coreos.com/'
  const annotations = {
    [`${prefix}kube-subnet-manager`]: 'true',
    [`${prefix}backend-type`]: 'vxlan',
    [`${prefix}backend-data`]: `{"VNI":1,"VtepMAC":"02:00:00:00:00:${n.toString(16).padStart(2, '0')}"}`,
    [`${prefix}public-ip`]: `192.168.64.${n}`,
    ...more,
  }
  return { metadata: { name: `n${n}`, annotations }, spec: { podCIDR: `10.5.${n}.0/24` } }
}

/** A Node before any network is on it. */
export function bareNode(n: number, podCIDR: string | undefined = `10.5.${n}.0/24`): SimulatedNode {
  return { metadata: { name: `n${n}` }, spec: podCIDR === undefined ? {} : { podCIDR } }
}

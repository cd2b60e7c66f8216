import { createPrivateKey, X509Certificate } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { type Clock, withDeadline } from '../../../lib/clock.ts'
import { messageOf } from '../../../lib/errors.ts'
import { silentLogger } from '../../../lib/log.ts'
import { EtcdClient } from '../../../subnet/etcd/client.ts'
import { type EtcdAccess, readTlsFiles, refuseHalfPair, type TlsFiles } from '../../../subnet/etcd/endpoints.ts'
import { HttpProbe } from '../../../subnet/etcd/http-probe.ts'
import { probeStore } from '../../../subnet/etcd/store-probe.ts'
import type { StoreFacts, StoreMember, TlsFileFacts } from '../facts.ts'

/** Long enough for an etcd that is slow. */
const ANSWER_MS = 6000
const HTTP_MS = 2000

export async function readStore(
  clock: Clock,
  access: EtcdAccess,
  prefix: string,
  signal: AbortSignal,
): Promise<StoreFacts> {
  const key = `${prefix === '/' ? '' : prefix}/config`
  const [tls, answer, http] = await Promise.all([
    readTlsFacts(clock, access),
    readAnswer(clock, access, prefix, signal),
    readMembers(clock, access, signal).catch(() => []),
  ])
  const isMissing = !('fault' in answer) && answer.config === undefined
  const v2Config = isMissing ? await readV2Config(access, key, signal).catch(() => undefined) : undefined
  return { key, tls, answer, members: http, ...(v2Config !== undefined && { v2Config }) }
}

async function readAnswer(
  clock: Clock,
  access: EtcdAccess,
  prefix: string,
  signal: AbortSignal,
): Promise<StoreFacts['answer']> {
  let client: EtcdClient | undefined
  try {
    const opened = new EtcdClient({ clock, log: silentLogger }, access)
    client = opened
    return await withDeadline(ANSWER_MS, signal, (stop) => probeStore(opened, prefix, stop))
  } catch (cause) {
    return { fault: messageOf(cause) }
  } finally {
    await client?.close()
  }
}

async function readMembers(clock: Clock, access: EtcdAccess, signal: AbortSignal): Promise<readonly StoreMember[]> {
  const probe = new HttpProbe(access)
  const asked = probe.endpoints.map(async (endpoint): Promise<StoreMember[]> => {
    try {
      const began = clock.wall()
      const { date, body } = await withDeadline(HTTP_MS, signal, (stop) => probe.get(endpoint, '/version', stop))
      const version = /"etcdserver":\s*"([\w.+-]{1,40})"/.exec(body)?.[1]
      // The header has whole seconds.
      const aheadMs = date === undefined ? undefined : date + 500 - (began + clock.wall()) / 2
      return [{ endpoint: endpoint.authority, version, aheadMs }]
    } catch {
      return []
    }
  })
  return (await Promise.all(asked)).flat()
}

async function readV2Config(access: EtcdAccess, key: string, signal: AbortSignal): Promise<string | undefined> {
  const probe = new HttpProbe(access)
  for (const endpoint of probe.endpoints) {
    const { code, body } = await withDeadline(HTTP_MS, signal, (stop) => probe.get(endpoint, `/v2/keys${key}`, stop))
    if (code !== 200) continue
    const { node } = JSON.parse(body) as { readonly node?: { readonly value?: unknown } }
    if (typeof node?.value === 'string') return node.value
  }
  return undefined
}

async function readTlsFacts(clock: Clock, access: EtcdAccess): Promise<TlsFileFacts> {
  const now = clock.wall()
  let files: TlsFiles
  try {
    refuseHalfPair(access)
    files = await readTlsFiles(access)
  } catch (cause) {
    return { fault: messageOf(cause), certificates: [], now }
  }
  const { ca, cert, key, paths } = files
  const none = (path: string, cause: unknown) => ({
    fault: `${path} is no PEM file of that kind: ${messageOf(cause)}`,
    certificates: [],
    now,
  })
  const certificates: { path: string; validFrom: number; validTo: number }[] = []
  for (const [path, pem] of [
    [paths.ca, ca],
    [paths.cert, cert],
  ] as const) {
    try {
      if (pem !== undefined) certificates.push({ path, ...datesOf(pem) })
    } catch (cause) {
      return none(path, cause)
    }
  }
  try {
    if (cert && key && !new X509Certificate(cert).checkPrivateKey(createPrivateKey(key)))
      return { fault: `the certificate ${paths.cert} does not belong to the key ${paths.key}`, certificates: [], now }
  } catch (cause) {
    return none(paths.key, cause)
  }
  const isOpen = paths.key !== '' && ((await stat(paths.key)).mode & 0o004) !== 0
  return { certificates, now, ...(isOpen && { openKey: paths.key }) }
}

function datesOf(pem: Buffer): { validFrom: number; validTo: number } {
  const { validFrom, validTo } = new X509Certificate(pem)
  return { validFrom: Date.parse(validFrom), validTo: Date.parse(validTo) }
}

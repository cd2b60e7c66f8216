import { printable } from '../../../lib/errors.ts'
import type { Facts, TlsFileFacts } from '../facts.ts'
import { fail, type Line, ok, warn } from '../line.ts'

const DAY_MS = 86_400_000
/** Certificates are renewed by then where somebody sees to it. */
const SOON_MS = 14 * DAY_MS
const MOST_SKEW_MS = 60_000

export function checkTlsFiles({ store }: Facts): readonly Line[] {
  if (store === undefined) return []
  const { fault, certificates, openKey, now } = store.tls
  if (fault !== undefined)
    return [
      fail(
        'tls-files',
        fault,
        'name files that are there and belong together: --etcd-cafile, --etcd-certfile, --etcd-keyfile',
      ),
    ]
  const lines = certificates.flatMap((certificate) => checkDates(certificate, now))
  if (openKey !== undefined)
    lines.push(warn('tls-files', `every user of this host may read the key ${openKey}`, `chmod 600 ${openKey}`))
  if (lines.length > 0) return lines
  return [ok('tls-files', certificates.length === 0 ? 'none are configured' : 'can be used, and none expires soon')]
}

function checkDates({ path, validFrom, validTo }: TlsFileFacts['certificates'][number], now: number): Line[] {
  const day = (time: number) => new Date(time).toISOString().slice(0, 10)
  const renew = `put a new certificate at ${path}; it is used without a restart`
  if (validTo < now) return [fail('tls-files', `the certificate ${path} has expired on ${day(validTo)}`, renew)]
  if (validFrom > now)
    return [
      fail(
        'tls-files',
        `the certificate ${path} is not valid before ${day(validFrom)}`,
        'set the clock of this host right, or put another certificate there',
      ),
    ]
  if (validTo < now + SOON_MS) return [warn('tls-files', `the certificate ${path} expires on ${day(validTo)}`, renew)]
  return []
}

export function checkStore({ store }: Facts): readonly Line[] {
  if (store === undefined) return []
  const { answer, members, tls } = store
  if ('fault' in answer) {
    // Nothing could be asked, and tls-files says why.
    if (tls.fault !== undefined) return []
    const old = members.find(({ version }) => /^[0-2]\./.test(version ?? ''))
    if (old !== undefined)
      return [
        fail(
          'etcd',
          `etcd at ${old.endpoint} has version ${old.version}, which does not know version 3 of its API`,
          'use etcd 3.4 or newer',
        ),
      ]
    return [fail('etcd', `the lease store does not answer: ${answer.fault}`, remedyOfSilence(answer.fault))]
  }
  const names = members.flatMap(({ endpoint, version }) => (version === undefined ? [] : [`${endpoint} (${version})`]))
  return [ok('etcd', names.length === 0 ? 'answers' : `answers: ${names.join(', ')}`)]
}

function remedyOfSilence(fault: string): string {
  if (/authentication failed|invalid user ID or password|user name is empty/.test(fault))
    return 'give --etcd-username and FLANNELD_ETCD_PASSWORD as they are in etcd'
  if (/permission denied/.test(fault))
    return 'let the role of the user of --etcd-username read the prefix: etcdctl role grant-permission ROLE readwrite PREFIX --prefix=true'
  if (/^etcd-endpoints: /.test(fault)) return 'correct --etcd-endpoints'
  if (/certificate|TLS/i.test(fault))
    return 'the text says which file; see --etcd-cafile, --etcd-certfile and --etcd-keyfile'
  return 'start etcd, or give --etcd-endpoints where it listens; see that no firewall lies between'
}

export function checkStoreAccess({ store }: Facts): readonly Line[] {
  if (store === undefined || 'fault' in store.answer) return []
  const { writeFault } = store.answer
  const prefix = store.key.slice(0, store.key.lastIndexOf('/'))
  if (writeFault === undefined) return [ok('etcd-permission', `leases may be written below ${prefix}/subnets`)]
  const remedy = `etcdctl role grant-permission ROLE readwrite ${prefix} --prefix=true, with the role of the user of --etcd-username`
  return [fail('etcd-permission', `leases cannot be written below ${prefix}/subnets: ${writeFault}`, remedy)]
}

export function checkConfiguration({ store }: Facts): readonly Line[] {
  if (store === undefined || 'fault' in store.answer) return []
  const { key, answer, v2Config } = store
  if (answer.config !== undefined) return [ok('configuration', `is at ${key}`)]
  if (v2Config === undefined) {
    const remedy = `ETCDCTL_API=3 etcdctl put ${key} '{"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}}'; or give the right --etcd-prefix`
    return [fail('configuration', `there is none at ${key}`, remedy)]
  }
  return [
    fail(
      'configuration',
      `${key} was written by version 2 of etcd's API, whose keys version 3 does not see`,
      `ETCDCTL_API=3 etcdctl put ${key} ${quote(v2Config)}`,
    ),
  ]
}

function quote(text: string): string {
  return /^[^'\p{Cc}]{1,2000}$/u.test(text) ? `'${text}'` : printable(text)
}

export function checkClock({ store }: Facts): readonly Line[] {
  const known = (store?.members ?? []).flatMap(({ endpoint, aheadMs }) =>
    aheadMs === undefined ? [] : [{ endpoint, aheadMs }],
  )
  if (known.length === 0) return []
  const wrong = known.filter(({ aheadMs }) => Math.abs(aheadMs) > MOST_SKEW_MS)
  if (wrong.length === 0) return [ok('clock', "agrees with etcd's")]
  return wrong.map(({ endpoint, aheadMs }) => {
    const much = `${Math.round(Math.abs(aheadMs) / 1000)} s ${aheadMs > 0 ? 'behind' : 'ahead of'}`
    return warn(
      'clock',
      `this host's clock is ${much} the one of etcd at ${endpoint}: certificates and logs are judged by it`,
      'let both set their clocks by NTP (timedatectl set-ntp true)',
    )
  })
}

import { X509Certificate } from 'node:crypto'
import { printable } from '../../lib/errors.ts'
import type { TlsFiles } from './endpoints.ts'

/** In OpenSSL's words, what the other side refused: `...sslv3 alert bad certificate:../deps/...:SSL alert number 42`. */
const ALERT = /\b(?:(?:ssl|tls)v\d+|ssl\/tls) alert ([a-z ]+):/
/** Of these alerts, what the other side thinks of our certificate (RFC 8446, section 6.2). Which one a fault gets differs by server. */
const ABOUT_CERTIFICATE =
  /^(?:(?:bad|unsupported) certificate|certificate \w+|unknown ca|access denied|handshake failure)$/
/** How a refusal reads where the connection was reset before its alert was. */
const CUT_OFF = /ECONNRESET|EPIPE|socket disconnected|socket hang up/
/** Node's words for a server that is not believed. */
const SERVER =
  /certificate has expired|certificate is not yet valid|self.signed certificate|unable to (?:get|verify)|altnames|not in the cert/i

/**
 * What a failed TLS connection means, in words that name the certificate and where it lies; undefined where the text speaks of
 * something else. `now`: milliseconds since the epoch.
 */
export function tlsFault(text: string, tls: TlsFiles, now: number): string | undefined {
  const { ca, cert } = tls.paths
  if (SERVER.test(text)) {
    // gRPC's frame around the one interesting sentence.
    const reason = text.replace(/^.*Last error: (?:Error: )?/s, '').replace(/\.? *Resolution note:.*$/s, '')
    return `etcd's certificate is not accepted, judged by ${ca === '' ? "the system's authorities" : ca}: ${reason}`
  }
  const alert = ALERT.exec(text)?.[1]
  const isRefused = alert !== undefined && ABOUT_CERTIFICATE.test(alert)
  if (!isRefused && !CUT_OFF.test(text)) return undefined
  const own = readCertificate(tls.cert)
  const fault = own === undefined ? undefined : timeFault(own, now)
  if (fault !== undefined) return `the client certificate ${cert} ${fault}`
  if (!isRefused) return undefined
  if (tls.cert === undefined)
    return `etcd asks for a client certificate (${alert}): give --etcd-certfile and --etcd-keyfile`
  const who = own === undefined ? '' : `, issued by ${printable(own.issuer.replaceAll('\n', ', '))}`
  return `etcd refuses the client certificate ${cert}${who} (${alert})`
}

/** For files that OpenSSL cannot use at all, its text with their names. */
export function unusableFiles(text: string, { paths: { ca, cert, key } }: TlsFiles): string {
  if (/key values mismatch/.test(text)) return `the client certificate ${cert} does not belong to the key ${key}`
  const files = [ca, cert, key].filter((path) => path !== '')
  return `the TLS files ${files.join(', ')} cannot be used: ${text}`
}

function readCertificate(pem: Buffer | undefined): X509Certificate | undefined {
  try {
    return pem === undefined ? undefined : new X509Certificate(pem)
  } catch {
    return undefined
  }
}

function timeFault({ validFrom, validTo }: X509Certificate, now: number): string | undefined {
  const day = (time: string) => new Date(time).toISOString()
  if (Date.parse(validTo) < now) return `has expired: it was valid until ${day(validTo)}`
  if (Date.parse(validFrom) > now) return `is not valid yet: it will be from ${day(validFrom)} on`
  return undefined
}

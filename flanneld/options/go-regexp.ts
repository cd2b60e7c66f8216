import { RE2JS } from 're2js'
import { ConfigError, messageOf } from '../../lib/errors.ts'

/**
 * A Go regular expression, found anywhere in the text; runs in linear time. Import this file only when one was given:
 * its library takes as long to load as the rest of a start.
 *
 * @throws ConfigError
 */
export function compileGoRegexp(source: string): {
  readonly source: string
  readonly matches: (text: string) => boolean
} {
  let compiled: RE2JS
  try {
    compiled = RE2JS.compile(source)
  } catch (cause) {
    throw new ConfigError('--iface-regex', `must be a Go regular expression (${messageOf(cause)})`, source)
  }
  return { source, matches: (text) => compiled.matcher(text).find() }
}

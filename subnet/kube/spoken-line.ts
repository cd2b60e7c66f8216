/** Shorter values of variables say nothing: `1`, `true`, `json`. */
const LEAST_KNOWN = 6
/** Characters of a line that are looked at: it may be a megabyte. */
const MOST_READ = 1_000
const REDACTED = '[redacted]'
const HARD = 'password|passwd|passphrase|pwd|secret|(?:api|access|private|secret)[-_]?key'
const NAMES_SECRET = new RegExp(`${HARD}|token|credential`, 'i')
const VALUE = `"[^"]*"?|'[^']*'?|[^\\s"',;]+`
/** A colon behind `token` mostly begins a reason (`cannot fetch token: invalid_grant`): what follows has to look like one. */
const NAMED = new RegExp(
  [
    `(\\w*(?:${HARD}|token|credentials?)\\w*["']?\\s*=\\s*|\\w*(?:${HARD})\\w*["']?\\s*:\\s*|\\bbearer\\s+)(?:${VALUE})`,
    `(\\w*(?:token|credentials?)["']?\\s*:\\s*)(?:"[^"]*"?|'[^']*'?|(?=\\S*\\d)(?=\\S*[a-z])[^\\s"',;]*[^\\s"',;:](?=$|[\\s"',;]))`,
  ].join('|'),
  'gi',
)

/**
 * The first line of what a program of others printed, of at most 200 characters and without what could be a secret: values that are known
 * to be given to it, what is named as one (`password=`, `Bearer`), the user of an address, long words and those that look random. Pure.
 */
export function spokenLine(text: string, known: readonly string[]): string {
  const [first = ''] = text.trim().split('\n', 1)
  // A word that is cut could not be told any more.
  const cut = first.length > MOST_READ ? first.slice(0, MOST_READ).replace(/\S*$/, '') : first
  let line = cut.replace(/[\p{Cc}\u2028\u2029]+/gu, ' ')
  // The longest first: one may be a part of another.
  for (const value of known.toSorted((a, b) => b.length - a.length)) line = line.replaceAll(value, REDACTED)
  return line
    .replace(/:\/\/[^\s/@]+@/g, `://${REDACTED}@`)
    .replace(NAMED, (_whole, hard?: string, soft?: string) => `${hard ?? soft ?? ''}${REDACTED}`)
    .replace(/[\w+/=.~-]{12,}/g, (word) => (isHarmless(word) ? word : REDACTED))
    .slice(0, 200)
}

/** Values that a program is given and may print: of its variables, and of arguments that are named as secrets. */
export function givenSecrets(env: Readonly<Record<string, string>>, args: readonly string[]): readonly string[] {
  const ofVariables = Object.entries(env).flatMap(([name, value]) =>
    value.length >= LEAST_KNOWN || NAMES_SECRET.test(name) ? [value] : [],
  )
  const ofArguments = args.flatMap((word, at) => {
    const [, name = '', value = ''] = /^(-[^=]*)=(.*)$/s.exec(word) ?? [word, args[at - 1] ?? '', word]
    return /^-[^=]+$/.test(name) && NAMES_SECRET.test(name) ? [value] : []
  })
  return [...ofVariables, ...ofArguments].filter((value) => value !== '')
}

/** Base64 has slashes too, also at its beginning: what counts are the parts between them. */
function isHarmless(word: string): boolean {
  if (!word.startsWith('/') && word.length >= 24) return false
  return word.split('/').every((part) => part.length < 24 && !looksRandom(part))
}

function looksRandom(word: string): boolean {
  return word.length >= 12 && /[a-z]/.test(word) && /[A-Z]/.test(word) && /[0-9]/.test(word)
}

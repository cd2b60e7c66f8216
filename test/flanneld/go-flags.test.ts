import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type FlagSyntax, parseGoFlags, readFlagValue } from '../../flanneld/options/go-flags.ts'

const syntaxes: Record<string, FlagSyntax> = {
  s: 'text',
  l: 'list',
  b: 'boolean',
  i: 'integer',
  d: 'decimal',
  t: 'duration',
}
const parse = (...words: string[]) =>
  parseGoFlags(words, (name) => (Object.hasOwn(syntaxes, name) ? syntaxes[name] : undefined))

describe("Go's flag syntax", () => {
  const accepted: [words: string[], values: Record<string, unknown>, rest?: string[]][] = [
    [[], {}],
    [['-s', 'x'], { s: 'x' }],
    [['--s', 'x'], { s: 'x' }],
    [['--s=x=y'], { s: 'x=y' }],
    [['-s='], { s: '' }],
    [['-s=a\nb'], { s: 'a\nb' }],
    [['-s', '--b'], { s: '--b' }],
    [['-s', '--', '-b'], { s: '--', b: true }],
    [['-s=1', '-s=2'], { s: '2' }],
    [['-l=1', '-l', '2'], { l: ['1', '2'] }],
    [['-b', 'false'], { b: true }, ['false']],
    [['-b=F'], { b: false }],
    [['-b', '--', '-s'], { b: true }, ['-s']],
    [['-b', '-', '-s'], { b: true }, ['-', '-s']],
    [['-b', '', '-s'], { b: true }, ['', '-s']],
    [['-i', '0x10'], { i: 16 }],
    [['-i', '-5'], { i: -5 }],
  ]
  for (const [words, values, rest = []] of accepted) {
    it(`reads ${JSON.stringify(words)}`, () => {
      const result = parse(...words)
      assert.deepEqual(result, { ok: true, values: new Map(Object.entries(values)), rest, help: false })
    })
  }

  const refused: [words: string[], text: RegExp][] = [
    [['---s'], /^bad flag syntax: ---s$/],
    [['-=x'], /^bad flag syntax: -=\.\.\.$/],
    [['--=x'], /^bad flag syntax/],
    [['-x'], /^flag provided but not defined: -x$/],
    [['--secret=hunter2'], /^flag provided but not defined: -secret$/],
    [['-__proto__=1'], /not defined: -__proto__$/],
    [['-s'], /^flag needs an argument: -s$/],
    [['-i'], /^flag needs an argument: -i$/],
    [['-b=yes'], /invalid value "yes" for flag -b: must be true or false/],
    [['-b='], /invalid value "" for flag -b/],
    [['-i=1.5'], /invalid value "1.5" for flag -i: must be an integer/],
    [['-i='], /flag -i/],
    [['-d=0x10'], /flag -d/],
    [['-t=5'], /flag -t: must be a duration/],
  ]
  for (const [words, text] of refused) {
    it(`refuses ${JSON.stringify(words)}`, () => {
      const result = parse(...words)
      assert.ok(!result.ok)
      assert.match(result.text, text)
    })
  }

  for (const word of ['-h', '--h', '-help', '--help', '--help=x']) {
    it(`sees ${word}`, () =>
      assert.deepEqual(parse('-b', word, '-unknown'), {
        ok: true,
        values: new Map([['b', true]]),
        rest: [],
        help: true,
      }))
  }

  const integers: [text: string, value: number | undefined][] = [
    ['0', 0],
    ['-0', 0],
    ['+7', 7],
    ['0x1F', 31],
    ['0X_1f', 31],
    ['0o17', 15],
    ['017', 15],
    ['0_17', 15],
    ['0b101', 5],
    ['1_000', 1000],
    ['', undefined],
    ['1_', undefined],
    ['_1', undefined],
    ['1__0', undefined],
    ['08', undefined],
    ['0x', undefined],
    ['1e3', undefined],
    [' 1', undefined],
    ['99999999999999999999', undefined],
    ['0x-1', undefined],
  ]
  for (const [text, value] of integers) {
    it(`reads the integer ${JSON.stringify(text)} as ${value}`, () => {
      const read = readFlagValue('integer', text)
      assert.equal(read.ok ? read.value : undefined, value)
    })
  }

  const durations: [text: string, ms: number | undefined][] = [
    ['0', 0],
    ['5m', 300_000],
    ['1h30m', 5_400_000],
    ['1.5s', 1500],
    ['.5s', 500],
    ['250ms', 250],
    ['1000us', 1],
    ['5', undefined],
    ['', undefined],
    ['s', undefined],
    ['-5s', undefined],
    ['1d', undefined],
    ['5m ', undefined],
    ['.s', undefined],
  ]
  for (const [text, ms] of durations) {
    it(`reads the duration ${JSON.stringify(text)} as ${ms} ms`, () => {
      const read = readFlagValue('duration', text)
      assert.equal(read.ok ? read.value : undefined, ms)
    })
  }

  it('never throws, whatever the words', () => {
    const word = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom('-s', '--b', '-i=', '-l', '--', '-', '-t=9h', '-b=f'),
    )
    fc.assert(
      fc.property(fc.array(word), (words) => {
        const result = parse(...words)
        if (result.ok) assert.ok(result.rest.length <= words.length)
      }),
    )
  })
})

import assert from 'node:assert/strict'
import fc from 'fast-check'
import { codeOf, formatLine, isJournal, type LogLine } from '../../flanneld/log/log-format.ts'
import { LogOutput, type LogOutputOptions } from '../../flanneld/log/log-output.ts'
import { createLogger, Secret } from '../../lib/log.ts'

const wall = new Date(2026, 10, 21, 9, 1, 23, 404).getTime() + 0.218
const line: LogLine = {
  severity: 'warn',
  code: 'route-replaced',
  number: 3,
  message: 'route replaced',
  fields: { dst: '10.5.3.0/24', via: undefined, why: 'it was gone', count: 2, error: new Error('no\nroute') },
  wall,
  pid: 1052,
}

describe('a log line', () => {
  it('looks like one of klog', () => {
    assert.equal(
      formatLine('klog', line),
      'W1121 09:01:23.404218    1052 route-replaced:3] route replaced dst=10.5.3.0/24 why="it was gone" count=2 error="no\\nroute"',
    )
  })

  it('is JSON in UTC', () => {
    const parsed = JSON.parse(formatLine('json', { ...line, wall: Date.UTC(2026, 10, 21, 9, 1, 23, 404) }))
    assert.deepEqual(parsed, {
      ts: '2026-11-21T09:01:23.404Z',
      level: 'warn',
      code: 'route-replaced',
      msg: 'route replaced',
      dst: '10.5.3.0/24',
      why: 'it was gone',
      count: 2,
      error: 'no\nroute',
    })
  })

  it('is logfmt in UTC', () => {
    assert.equal(
      formatLine('logfmt', { ...line, fields: { dst: '10.5.3.0/24' }, wall: Date.UTC(2026, 10, 21, 9, 1, 23, 404) }),
      'ts=2026-11-21T09:01:23.404Z level=warn code=route-replaced msg="route replaced" dst=10.5.3.0/24',
    )
  })

  it('keeps its own fields apart from given ones', () => {
    const parsed = JSON.parse(formatLine('json', { ...line, fields: { level: 'x', msg: 'y' } }))
    assert.deepEqual(
      [parsed.level, parsed.msg, parsed.field_level, parsed.field_msg],
      ['warn', 'route replaced', 'x', 'y'],
    )
  })

  for (const format of ['klog', 'json', 'logfmt'] as const) {
    it(`as ${format} is one line without control characters, whatever it says`, () => {
      const anything = fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.anything({ withBigInt: true, withMap: true, withSet: true, withNullPrototype: true }),
      )
      fc.assert(
        fc.property(
          fc.string({ unit: 'binary' }),
          fc.dictionary(fc.string({ unit: 'binary' }), anything),
          (message, fields) => {
            const text = formatLine(format, { ...line, message, fields })
            assert.ok(!/[\p{Cc}\u2028\u2029\u202e\u200b]/u.test(text), JSON.stringify(text))
            if (format === 'json') JSON.parse(text)
          },
        ),
      )
    })

    it(`as ${format} never shows a secret`, () => {
      const secret = new Secret('canary')
      const fields = { secret, deep: { list: [secret], map: new Map([['key', secret]]) } }
      const text = formatLine(format, { ...line, fields })
      assert.ok(!text.includes('canary') && text.includes('[redacted]'), text)
    })
  }

  it('has a code made of its words', () => {
    assert.equal(codeOf('route replaced'), 'route-replaced')
    assert.equal(codeOf("Peer's lease: (rejected) by one two three four"), 'peer-s-lease-rejected-by-one')
    assert.equal(codeOf('\n'), 'message')
  })

  it('goes to the journal only if stderr is it', () => {
    assert.equal(isJournal('8:123', { dev: 8, ino: 123 }), true)
    assert.equal(isJournal('8:123', { dev: 8, ino: 124 }), false)
    assert.equal(isJournal(undefined, { dev: 8, ino: 123 }), false)
    assert.equal(isJournal('8:123', undefined), false)
  })
})

describe('the log', () => {
  let now: number
  let lines: string[]
  const clock = { now: () => now, wall: () => wall, sleep: () => Promise.resolve() }
  const open = (more: Partial<LogOutputOptions> = {}) => {
    const output = new LogOutput(
      { clock, write: (text) => lines.push(text) },
      { format: 'klog', pid: 1, journal: false, verbosity: 0, verbosityRules: [], tracePoint: undefined, ...more },
    )
    return { output, log: createLogger(output.sink) }
  }
  const said = () => lines.map((text) => text.replace(/^.*?\] /, '').trimEnd())

  beforeEach(() => {
    now = 1000
    lines = []
  })

  it('numbers the lines of a code', () => {
    const { log } = open()
    log.info('route replaced', { dst: 'a' })
    log.info('route replaced', { dst: 'b' })
    assert.match(lines[1] ?? '', /^I\d{4} .* route-replaced:2\] route replaced dst=b\n$/)
  })

  it('takes the code from its field', () => {
    const { log } = open()
    log.warn('something happened', { code: 'Special Case', x: 1 })
    assert.match(lines[0] ?? '', / special-case:1\] something happened x=1\n$/)
  })

  it('puts the journal’s priority in front', () => {
    const { log } = open({ journal: true, verbosity: 1 })
    log.error('a')
    log.warn('b')
    log.info('c')
    log.debug('d')
    assert.deepEqual(
      lines.map((text) => text.slice(0, 4)),
      ['<3>E', '<4>W', '<6>I', '<7>I'],
    )
  })

  it('writes equal lines once in half a minute and says how many there were', () => {
    const { log } = open()
    for (let time = 0; time < 5; time += 1) log.warn('etcd unreachable', { endpoint: 'x' })
    now += 31_000
    log.info('other')
    assert.deepEqual(said(), ['etcd unreachable endpoint=x', 'etcd unreachable endpoint=x repeated=4', 'other'])
  })

  it('writes at most fifty of a code in ten seconds and says how many more', () => {
    const { log } = open()
    for (let peer = 0; peer < 5000; peer += 1) log.warn('lease rejected', { peer })
    assert.equal(lines.length, 50)
    log.info('other')
    assert.equal(lines.length, 51)
    now += 11_000
    log.warn('lease rejected', { peer: 1 })
    assert.equal(said()[51], 'lease rejected andMoreLikeThis=4950')
  })

  it('says at the end what it left out', () => {
    const { output, log } = open()
    log.info('same')
    log.info('same')
    output.flush()
    output.flush()
    assert.deepEqual(said(), ['same', 'same repeated=1'])
  })

  it('forgets what is long ago: memory stays bounded', () => {
    const { log } = open()
    for (let index = 0; index < 5000; index += 1) log.info(`message ${index}`)
    assert.equal(lines.length, 5000)
  })

  it('has debug lines only where they are asked for', () => {
    open().log.debug('route looked up')
    assert.equal(lines.length, 0)
    open({ verbosity: 1 }).log.debug('route looked up')
    open({ verbosityRules: [{ pattern: 'route-*', level: 1 }] }).log.debug('route looked up')
    open({ verbosityRules: [{ pattern: 'lease-?', level: 1 }] }).log.debug('route looked up')
    open({ verbosity: 1, verbosityRules: [{ pattern: 'route-looked-up', level: 0 }] }).log.debug('route looked up')
    assert.equal(lines.length, 2)
  })

  it('adds a stack trace where it is asked for', () => {
    const { log } = open({ tracePoint: 'b-happened:2' })
    log.info('b happened', { x: 1 })
    log.info('b happened', { x: 2 })
    assert.deepEqual(
      lines.map((text) => text.includes('stack=')),
      [false, true],
    )
  })
})

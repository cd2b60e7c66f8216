import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { FLAG_NAMES, OPTION_TABLE, variableOf } from '../../flanneld/options/option-table.ts'
import { parseCommandLine } from '../../flanneld/options/options.ts'
import { controlEntries, debianArchitecture } from '../../scripts/package/control.ts'
import { environmentFile } from '../../scripts/package/environment-file.ts'
import { manPage } from '../../scripts/package/man-page.ts'

const variable = /^#(FLANNELD_\w+)=(.*)$/gm

describe('/etc/default/flanneld', () => {
  it('names each variable of the option table once, in its order', () => {
    const named = [...environmentFile().matchAll(variable)].map(([, name]) => name)
    assert.deepEqual(named, FLAG_NAMES.map(variableOf))
  })

  it('sets nothing', () => {
    for (const line of environmentFile().split('\n')) assert.match(line, /^(#.*)?$/)
  })

  it('shows the defaults: with all comments taken away nothing changes', () => {
    const script = `${environmentFile().replace(variable, '$1=$2\nexport $1')}\nenv`
    const { stdout } = spawnSync('sh', ['-ec', script], { encoding: 'utf8', env: { PATH: process.env['PATH'] } })
    const environment = Object.fromEntries([...stdout.matchAll(/^(FLANNELD_\w+)=(.*)$/gm)].map(([, k, v]) => [k, v]))
    assert.equal(Object.keys(environment).length, FLAG_NAMES.length)
    const plain = parseCommandLine([], {})
    const shown = parseCommandLine([], environment)
    assert.ok(shown.command === 'daemon' && plain.command === 'daemon')
    assert.deepEqual(shown.options, plain.options)
    assert.deepEqual(shown.warnings, [])
  })
})

describe('flanneld(8)', () => {
  const page = manPage({ version: '1.2.3', date: 86_400 })

  it('has its date from what is packed', () => assert.match(page, /^\.TH FLANNELD 8 "1970-01-02" "flanneld 1\.2\.3"/))

  it('names each flag with its help', () => {
    for (const name of FLAG_NAMES) {
      assert.ok(page.includes(`\\fB\\-\\-${name.replaceAll('-', '\\-')}\\fR`), name)
      const [word = ''] = OPTION_TABLE[name].help.split(/[-'`]/)
      assert.ok(page.includes(word), name)
    }
  })

  it('names the commands that are there, and no other', () => {
    assert.match(page, /^\.B hand\\-over$/m)
    assert.doesNotMatch(page, /rotate/)
  })

  it('has no line that troff would take for a request', () => {
    const requests = /^\.(TH|SH|TP|B|BR|I|br|RS|RE)( |$)/
    for (const line of page.split('\n')) assert.ok(!/^['.]/.test(line) || requests.test(line), line)
  })
})

describe('the control file', () => {
  it('has the architecture for which the native module was built', () => {
    assert.equal(debianArchitecture(['linux-x64']), 'amd64')
    assert.throws(() => debianArchitecture(['linux-x64', 'linux-arm64']), /a package has one architecture/)
    assert.throws(() => debianArchitecture([]), /native modules for/)
  })

  it('does not depend on a package of Node', () => {
    const [control] = controlEntries([], { version: '1', architecture: 'amd64', description: 'D' })
    assert.ok(control && 'content' in control)
    assert.match(String(control.content), /^Depends: libc6 \(>= 2\.28\), nftables \| iptables$/m)
  })
})

import assert from 'node:assert/strict'
import fc from 'fast-check'
import { splitDockerOptions } from '../../../kernel/kinds/file/docker-options.ts'

describe("Docker's options in a file", () => {
  const lines: readonly [string, boolean][] = [
    ['DOCKER_OPTS=" --bip=10.5.72.1/24 --mtu=1450"', true],
    ['DOCKER_OPT_MTU="--mtu=1450"', true],
    ['DOCKER_NETWORK_OPTIONS=""', true],
    ['DOCKER_OPTS="--label \\"a b\\" --x=\\$HOME --y=\\`id\\` --z=\\\\"', true],
    ['DOCKER_OPTS=--mtu=1450', false],
    ["DOCKER_OPTS='--mtu=1450'", false],
    ['DOCKER_OPTS="$HOME"', false],
    ['DOCKER_OPTS="`id`"', false],
    ['DOCKER_OPTS="a" b', false],
    ['DOCKER_OPTS="a\\"', false],
    ['DOCKER_OPTS="a\\n"', false],
    ['DOCKER_OPTS="a"\r', false],
    ['DOCKER_="a"', false],
    ['export DOCKER_OPTS="a"', false],
    ['FLANNEL_MTU="1450"', false],
    ['# DOCKER_OPTS="a"', false],
  ]
  for (const [line, isOption] of lines) {
    it(`${isOption ? 'are' : 'are not'} ${JSON.stringify(line)}`, () => {
      const text = `FLANNEL_MTU=1450\n${line}\n`
      const expected = isOption ? { options: `${line}\n`, rest: 'FLANNEL_MTU=1450\n' } : { options: '', rest: text }
      assert.deepEqual(splitDockerOptions(text), expected)
    })
  }

  it('and the rest are all that there is, once', () => {
    const line = fc.oneof(fc.string(), fc.constantFrom('DOCKER_OPTS="a"', 'DOCKER_OPT_X="b"', 'FLANNEL_MTU=1450'))
    fc.assert(
      fc.property(fc.array(line), (list) => {
        const { options, rest } = splitDockerOptions(list.map((each) => `${each}\n`).join(''))
        assert.deepEqual(splitDockerOptions(rest + options), { options, rest })
        assert.equal(
          options.length + rest.length,
          list.map((each) => each.length + 1).reduce((a, b) => a + b, 0),
        )
      }),
    )
  })
})

import assert from 'node:assert/strict'
import { Docker, type DockerContainer } from '../../lab/docker.ts'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { answer, seenAs, unseenBy } from '../e2e/rules.ts'
import { flanneld, knowsPeers, logsInFailure, oneSegment, ready, startDaemon, until, vxlan } from '../e2e/world.ts'
import { needs } from '../needs.ts'
import { conditionsOf, dockerOptions } from './docker-world.ts'

// Debian has Docker 20.10. It runs without rules of its own here, and those that 28 and 29 generate are put in by hand. Source: moby,
// integration/network/bridge/{iptablesdoc,nftablesdoc}/generated, daemon/libnetwork/drivers/bridge/internal/{iptabler,nftabler}.

const byIptables = (address: string) => `
set -e
iptables() { command iptables-nft -w "$@"; }
for chain in DOCKER DOCKER-BRIDGE DOCKER-CT DOCKER-FORWARD DOCKER-ISOLATION-STAGE-1 DOCKER-ISOLATION-STAGE-2 DOCKER-USER; do iptables -N $chain; done
iptables -P FORWARD DROP
iptables -I FORWARD -j DOCKER-FORWARD
iptables -I FORWARD -j DOCKER-USER
iptables -A DOCKER ! -i docker0 -o docker0 -j DROP
iptables -A DOCKER-BRIDGE -o docker0 -j DOCKER
iptables -A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A DOCKER-FORWARD -j DOCKER-CT
iptables -A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
iptables -A DOCKER-FORWARD -j DOCKER-BRIDGE
iptables -A DOCKER-FORWARD -i docker0 -j ACCEPT
iptables -A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
iptables -A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
iptables -t raw -A PREROUTING -d ${address}/32 ! -i docker0 -j DROP`

const nftTable = (subnet: string, { raw, mark }: { raw: boolean; mark?: string }) => `
add table ip docker-bridges
delete table ip docker-bridges
table ip docker-bridges {
  map filter-forward-in-jumps { type ifname : verdict; elements = { "docker0" : jump filter-forward-in__docker0 }; }
  map filter-forward-out-jumps { type ifname : verdict; elements = { "docker0" : jump filter-forward-out__docker0 }; }
  chain filter-forward-in__docker0 {
    ct state established,related counter accept
    ${mark === undefined ? '' : `meta mark ${mark} counter accept comment "ALLOW FW MARK"`}
    iifname "docker0" counter accept comment "ICC"
    counter drop comment "UNPUBLISHED PORT DROP"
  }
  chain filter-forward-out__docker0 {
    ct state established,related counter accept
    counter accept comment "OUTGOING"
  }
  chain filter-FORWARD {
    type filter hook forward priority filter; policy drop;
    oifname vmap @filter-forward-in-jumps
    iifname vmap @filter-forward-out-jumps
  }
  chain raw-PREROUTING {
    type filter hook prerouting priority raw; policy accept;
    ${raw ? `ip daddr ${subnet} iifname != { "docker0", "lo" } counter drop comment "SUBNET DROP EXTERNAL"` : ''}
  }
}`

for (const tool of ['iptables', 'nftables'] as const) {
  describe(`the rules of Docker 28 and later beside ours in ${tool}`, function () {
    needs(this, 'netns', 'etcd', 'docker')
    this.timeout(180_000)
    let lab: Lab
    let two: Host
    const dockers: Docker[] = []
    let here: DockerContainer
    let there: DockerContainer
    let subnet = ''

    before(async () => {
      lab = await Lab.create({ segments: oneSegment(2), netConf: { ...vxlan, EnableNFTables: tool === 'nftables' } })
      two = lab.host('h2')
      await Promise.all(lab.hosts.map((host) => startDaemon(host, { args: ['--ip-masq'] })))
      for (const host of lab.hosts) {
        await ready(host)
        dockers.push(await Docker.start(host, [...(await dockerOptions(host)), '--iptables=false']))
      }
      const [c1, c2] = await Promise.all(dockers.map((docker) => docker.run('c1')))
      assert.ok(c1 && c2)
      here = c1
      there = c2
      for (const host of lab.hosts) await knowsPeers(host, 1)
      await Promise.all([here, there].map((place) => answer(place)))
      const { families } = await two.subnetEnv()
      subnet = families[0]?.subnet ?? ''
      assert.equal(await seenAs(here, there.address), here.address)
    })

    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, lab)
    })

    after(async () => {
      for (const docker of dockers) await docker.stop()
      await lab?.close()
    })

    const nft = (input: string) => two.exec(['nft', '-f', '-'], { input })
    const markTable = async () =>
      /flannel-docker-ipv4\S*/.exec((await two.exec(['nft', 'list', 'tables'])).stdout)?.[0] ?? ''
    const named = (pattern: RegExp) =>
      until(35_000, `named as ${pattern}`, async () =>
        assert.match((await conditionsOf(two, 'advisory clear-path')).join('\n'), pattern),
      )
    const nothingIsNamed = () =>
      until(35_000, 'nothing is named', async () =>
        assert.deepEqual(await conditionsOf(two, 'advisory clear-path'), []),
      )
    const reaches = () =>
      until(10_000, 'it reaches', async () => {
        assert.equal(await seenAs(here, there.address), here.address)
        assert.equal(await seenAs(there, here.address), there.address)
      })

    it('by iptables: the drop in raw PREROUTING is named; without it (allow-direct-routing) our place in DOCKER-USER is enough', async () => {
      await two.exec(['sh', '-c', byIptables(there.address)])
      assert.equal(await unseenBy(here, there.address), true)
      await named(new RegExp(`-t raw PREROUTING drops what peers send to ${there.address} .*allow-direct-routing`))
      // Docker does not write this rule then.
      await two.exec([
        'iptables-nft',
        '-t',
        'raw',
        '-D',
        'PREROUTING',
        '-d',
        `${there.address}/32`,
        '!',
        '-i',
        'docker0',
        '-j',
        'DROP',
      ])
      await reaches()
      await nothingIsNamed()
      assert.match((await two.exec(['iptables-nft-save', '-t', 'filter'])).stdout, /-A DOCKER-USER .*-j FLANNEL-FWD/)
    })

    it('by iptables: a network that trusts the device of the overlay is named no more', async () => {
      const raw = ['iptables-nft', '-t', 'raw', '-A', 'PREROUTING', '-d', `${there.address}/32`]
      await two.exec([...raw, '-i', 'flannel.1', '-j', 'ACCEPT'])
      await two.exec([...raw, '!', '-i', 'docker0', '-j', 'DROP'])
      await reaches()
      await nothingIsNamed()
      await two.exec([
        'sh',
        '-c',
        'iptables-nft -t raw -F; iptables-nft -F; iptables-nft -P FORWARD ACCEPT; iptables-nft -X || true',
      ])
    })

    it('by nftables: both drops are named, each with what helps', async () => {
      await nft(nftTable(subnet, { raw: true }))
      assert.equal(await unseenBy(here, there.address), true)
      await named(/docker-bridges raw-PREROUTING drops what peers send to .*allow-direct-routing/)
      await named(
        /filter-forward-in__docker0 drops what peers send to containers of docker0.*bridge-accept-fwmark": "0x1000\/0x1000"/,
      )
    })

    it('by nftables: direct routing alone is not enough, and that is said', async () => {
      await nft(nftTable(subnet, { raw: false }))
      assert.equal(await unseenBy(here, there.address), true)
      await named(/^(?!.*raw-PREROUTING).*filter-forward-in__docker0 drops/s)
    })

    for (const [what, mark, rule] of [
      ['a mark with a mask', 'and 4096 == 4096', /meta mark set/],
      ['a whole mark', '42', /meta mark set 0x0000002a/],
    ] as const) {
      it(`by nftables: with ${what} it is set by a chain of ours, which is healed`, async () => {
        await nft(nftTable(subnet, { raw: false, mark }))
        await reaches()
        await nothingIsNamed()
        const own = async () => (await two.exec(['nft', 'list', 'table', 'ip', await markTable()])).stdout
        await until(5_000, 'the rule', async () => assert.match(await own(), rule))
        await two.exec(['nft', 'flush', 'table', 'ip', await markTable()])
        await until(2_000, 'healed', async () => assert.match(await own(), rule))
        await reaches()
      })
    }

    it('a start of Docker, which makes its table anew, takes nothing of ours away', async () => {
      const other = dockers[1]
      assert.ok(other)
      await two.exec(['nft', 'delete', 'table', 'ip', 'docker-bridges'])
      await new Promise((resolve) => setTimeout(resolve, 5_000))
      assert.match((await two.exec(['nft', 'list', 'tables'])).stdout, /flannel-docker-ipv4/)
      await nft(nftTable(subnet, { raw: false, mark: '42' }))
      assert.equal(await seenAs(here, there.address), here.address)
    })

    it('clean-up takes the chain of the mark away', async () => {
      await two.daemon?.stop()
      const plan = await flanneld(two, ['plan'])
      assert.doesNotMatch(plan.stdout, /flannel-docker/, plan.stdout)
      assert.equal((await flanneld(two, ['cleanup'])).code, 0)
      const { stdout } = await two.exec(['nft', 'list', 'tables'])
      assert.doesNotMatch(stdout, /flannel/)
      assert.match(stdout, /docker-bridges/)
    })
  })
}

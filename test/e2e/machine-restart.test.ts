import assert from 'node:assert/strict'
import { long } from '../long.ts'
import { needs } from '../needs.ts'
import { configured, container, etcdOfTest, furnished, Machine, pings, said, untilTrue } from './machine.ts'

const say = `
echo "== docker options"; cat /run/docker_opts.env
echo "== node"; cat /var/lib/flannel/node-id
echo "== device"; cat /sys/class/net/flannel.ipip/mtu
echo "== bridge"; ip -4 -o address show docker0 | grep -o '10[^ ]*' | head -1
echo "== end"`

const install = (deb: string) => `${furnished({ peersProgram: '/usr/sbin/flanneld' })}
dpkg -i ${deb}
printf 'FLANNELD_ETCD_ENDPOINTS=${etcdOfTest}\\nFLANNELD_IP_MASQ=true\\n' >>/etc/default/flanneld
systemctl enable flanneld
systemctl start --no-block flanneld
# Later than the 90 s that a start may take.
sleep 100
test "$(systemctl is-active flanneld)" = activating
test "$(systemctl show --value -p NRestarts flanneld)" = 0
systemctl start etcd-of-test
${configured}
${untilTrue(120, 'systemctl -q is-active flanneld')}
mkdir -p /etc/systemd/system/docker.service.d
ln -s /usr/lib/flanneld/docker.service.conf /etc/systemd/system/docker.service.d/flanneld.conf
systemctl daemon-reload
systemctl enable lan etcd-of-test peer docker
systemctl start flanneld docker peer
${container}
${pings}
${say}`

/** Nothing is started here: all that comes back does so by itself. */
const afterBoot = (deb: string) => `set -e
${untilTrue(240, 'test "$(docker inspect -f {{.State.Running}} c1 2>/dev/null)" = true')}
systemctl is-active flanneld docker
${pings}
${say}
pids() { systemctl show --value -p MainPID docker; docker inspect -f '{{.State.Pid}}' c1; }
before=$(pids)
main=$(systemctl show --value -p MainPID flanneld)
another() { now=$(systemctl show --value -p MainPID flanneld); [ "$now" != 0 ] && [ "$now" != "$main" ] && systemctl -q is-active flanneld; }
untouched() { test "$(pids)" = "$before"; main=$(systemctl show --value -p MainPID flanneld); ${pings}
}
systemctl restart flanneld
another
untouched
echo "== restarted"
kill -STOP "$main"
${untilTrue(120, 'another')}
untouched
echo "== watchdog"
mkdir -p /etc/systemd/system/docker.service.requires
ln -s /usr/lib/systemd/system/flanneld.service /etc/systemd/system/docker.service.requires/
systemctl daemon-reload
dpkg -i ${deb}
${untilTrue(120, 'another')}
untouched
echo "== upgraded"`

if (long)
  describe('a machine that is started again', function () {
    needs(this, 'vm', 'etcd', 'docker', 'packaging')
    this.timeout(5_400_000)
    let machine: Machine | undefined
    before(() => {
      machine = new Machine()
    })
    after(() => machine?.remove())

    it('has the same subnet and its containers, by itself; restart, watchdog and upgrade leave them alone', async () => {
      assert.ok(machine)
      const first = await machine.boot('first', install(machine.deb))
      const second = await machine.boot('second', afterBoot(machine.deb))
      const before = said(first, 'docker options', 'end')
      assert.match(before, /--bip=10\.5\.\d+\.1\/24/)
      assert.equal(said(second, 'docker options', 'end'), before)
      assert.match(second, /^== upgraded$/m)
    })
  })

import assert from 'node:assert/strict'
import { copyFile, mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Outcome, type RunOptions, run } from '../../lab/command.ts'
import type { Host } from '../../lab/host.ts'
import type { Program } from '../../lab/program.ts'
import { until } from '../until.ts'

/** What looks for hardware, or would change what is shared with this machine. */
const masked = [
  'systemd-udevd',
  'systemd-udev-trigger',
  'systemd-tmpfiles-setup',
  'systemd-tmpfiles-setup-dev',
  'systemd-sysctl',
  'systemd-modules-load',
  'systemd-random-seed',
  'systemd-timesyncd',
  'systemd-networkd',
  'systemd-resolved',
  'systemd-remount-fs',
  'kmod-static-nodes',
]

/** What tests put on a disk that is kept. */
const ON_DISK = 'etc tmp/image usr/lib/flanneld usr/sbin/flanneld usr/lib/systemd/system/flanneld* var/lib/flannel'

// $1: an empty folder, $2: the name of a cgroup. All mounts end with the namespace.
const enterCgroup = `
mount -t tmpfs tmpfs "$1"
mkdir "$1/changed" "$1/work" "$1/root" "$1/cgroup"
mount -t cgroup2 cgroup2 "$1/cgroup"
mkdir "$1/cgroup/$2"
echo $$ >"$1/cgroup/$2/cgroup.procs"
umount "$1/cgroup"
exec unshare --cgroup --pid --mount --ipc --uts --fork --kill-child sh -ec "$3" sh "$1"`

const becomeInit = `
mount -t overlay -o "lowerdir=/,upperdir=$1/changed,workdir=$1/work" overlay "$1/root"
cd "$1/root"
mount -t proc proc proc
# Of the settings of the kernel only the network's are the namespace's own.
mkdir "$1/net"
mount --bind proc/sys/net "$1/net"
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount --bind "$1/net" proc/sys/net
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=0755 tmpfs dev
mkdir dev/net dev/shm dev/pts
for name in null zero full random urandom tty net/tun; do
  touch "dev/$name"
  mount --bind "/dev/$name" "dev/$name"
done
ln -s /proc/self/fd dev/fd
touch dev/console
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p run/systemd/system old
printf '[Unit]\\nDefaultDependencies=no\\n' >run/systemd/system/nothing.target
for name in ${masked.join(' ')}; do ln -s /dev/null "run/systemd/system/$name.service"; done
hostname host
pivot_root . old
umount -l old
rmdir old
# As a booted systemd does itself: LoadCredential= mounts by way of another namespace.
mount --make-rshared /
exec env -i container=lab PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
  /lib/systemd/systemd --unit=nothing.target --log-target=console --show-status=no`

/** systemd as the first process of a host: the lab's network namespace, this machine's files, writes that vanish at the end. */
export class ServiceManager {
  readonly #program: Program
  readonly #cgroup: string
  readonly #pid: number

  private constructor(program: Program, cgroup: string, pid: number) {
    this.#program = program
    this.#cgroup = cgroup
    this.#pid = pid
  }

  static async boot(host: Host): Promise<ServiceManager> {
    const folder = join(host.folder, 'booted')
    await mkdir(folder, { recursive: true })
    const cgroup = `flanneld-${host.name}`
    const argv = ['unshare', '--mount', '--', 'sh', '-ec', enterCgroup, 'sh', folder, cgroup, becomeInit]
    const program = await host.start(argv, { log: join(host.folder, 'systemd.log') })
    const manager = new ServiceManager(program, cgroup, await firstProcess(program))
    try {
      await until(20_000, 'systemd is up', () => manager.exec(['systemctl', 'is-active', 'nothing.target']))
      return manager
    } catch (cause) {
      await manager.halt()
      throw new Error(`systemd did not come up: ${await readFile(program.log, 'utf8')}`, { cause })
    }
  }

  /** Runs a program there. */
  async exec(argv: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    return await run(['nsenter', '--all', `--target=${this.#pid}`, '--', ...argv], options)
  }

  async sh(script: string, options: RunOptions = {}): Promise<string> {
    return (await this.exec(['sh', '-ec', script], options)).stdout
  }

  /** A property of a unit, as `systemctl show` has it. */
  async show(unit: string, property: string): Promise<string> {
    return (await this.exec(['systemctl', 'show', '--value', '-p', property, unit])).stdout.trim()
  }

  /** Puts a file of this machine there. */
  async copy(from: string, to: string): Promise<void> {
    await copyFile(from, `/proc/${this.#pid}/root${to}`)
  }

  /** What an operator and packages have put on its disk, into a file of this machine. */
  async saveDisk(file: string): Promise<void> {
    await this.sh(`cd / && tar -cf /run/disk.tar ${ON_DISK}`)
    await copyFile(`/proc/${this.#pid}/root/run/disk.tar`, file)
  }

  async restoreDisk(file: string): Promise<void> {
    await this.copy(file, '/run/disk.tar')
    await this.exec(['tar', '-C', '/', '-xf', '/run/disk.tar'])
  }

  /** All below it ends with the first process. */
  async halt(): Promise<void> {
    this.#program.kill('SIGKILL')
    await this.#program.waitExit()
    const script = `mount -t cgroup2 cgroup2 /mnt && cd "/mnt/$1" && find . -depth -mindepth 1 -type d -exec rmdir {} + && cd .. && rmdir "$1"`
    await until(10_000, 'its cgroups are gone', () =>
      run(['unshare', '--mount', 'sh', '-ec', script, 'sh', this.#cgroup]),
    )
  }
}

/** The shell in the middle has children before: programs that mount. */
async function firstProcess({ pid }: Program): Promise<number> {
  let child = ''
  await until(20_000, 'systemd is the first process', async () => {
    child = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim()
    assert.equal(await readFile(`/proc/${child}/comm`, 'utf8'), 'systemd\n')
  })
  return Number(child)
}

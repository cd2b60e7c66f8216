# The first process on the machine's root: mounts what a booted machine has, runs /run/vm/command, powers off.
# /run/vm is a folder of the caller's; what is written there stays.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=0620,ptmxmode=0666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
# The machine's /run tells of processes and namespaces that are not here.
mount -t tmpfs -o mode=0755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir /run/vm
# Not cached: the caller reads while we write, and each side's power may go at any time.
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=none job /run/vm
while read -r tag folder; do
  mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,cache=none" "$tag" "$folder"
done </run/vm/shares
read -r modules </run/vm/modules
mkdir -p "/lib/modules/$(uname -r)"
mount --bind "$modules" "/lib/modules/$(uname -r)"
# What udev makes before its module is there: the first who opens it has the module loaded.
mkdir /dev/net
mknod -m 666 /dev/net/tun c 10 200
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
# As on every Kubernetes node; flannel's own daemon does not start without it.
modprobe br_netfilter
hostname vm
busybox ip link set lo up
port=/dev/$(cd /sys/class/virtio-ports && echo *)
cat >/run/vm-errand <<END
sh /run/vm/command </dev/null >"$port" 2>&1
echo \$? >/run/vm/code
sync
busybox poweroff -f
END
[ -e /run/vm/systemd ] || exec sh /run/vm-errand

# As a machine boots that has nothing enabled but what the errands on this disk have enabled.
if [ ! -e /etc/flanneld-vm ]; then
  touch /etc/flanneld-vm
  rm -rf /etc/systemd/system/*.wants /etc/systemd/system/*.requires
fi
units=/run/systemd/system
mkdir -p $units/multi-user.target.wants
printf '[Service]\nExecStart=/bin/sh /run/vm-errand\n' >$units/vm-errand.service
ln -s ../vm-errand.service $units/multi-user.target.wants/
# What looks for hardware, asks who owns the machine, and what the stages before have done.
for name in udevd udev-trigger tmpfiles-setup tmpfiles-setup-dev random-seed firstboot timesyncd networkd resolved remount-fs \
  logind user-sessions journal-flush update-utmp; do
  ln -s /dev/null $units/systemd-$name.service
done
for name in kmod-static-nodes.service getty.target proc-sys-fs-binfmt_misc.automount; do ln -s /dev/null $units/$name; done
exec env -i PATH="$PATH" /lib/systemd/systemd --unit=multi-user.target --log-target=console --show-status=no

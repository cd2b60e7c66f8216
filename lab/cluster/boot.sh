# boot.sh NODE FOLDER CGROUP PAUSE: becomes pid 1 of a node, in namespaces of its own that `unshare` has just made.
# What a node writes below /run, /etc, /opt, /var lands in FOLDER; that and the network are all that tells two nodes apart.
set -e
node=$1 folder=$2 cgroup=$3 pause=$4

for controller in /sys/fs/cgroup/*/; do
  echo 0 >"$controller/$cgroup/cgroup.procs"
done

# /sys shows the network that its mounter is in; the cgroups below it stay the machine's.
umount --recursive --lazy /run/netns 2>/dev/null || :
mkdir -p "$folder/cgroups"
mount --rbind /sys/fs/cgroup "$folder/cgroups"
mount -t sysfs sysfs /sys
mount --move "$folder/cgroups" /sys/fs/cgroup

# Empty at each boot, as on any machine.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/netns

for name in etc opt var; do
  mkdir -p "$folder/$name/upper" "$folder/$name/work" "/$name"
  mount -t overlay overlay -o "lowerdir=/$name,upperdir=$folder/$name/upper,workdir=$folder/$name/work" "/$name"
done
# An overlay's upper folder, which containerd makes for each container, cannot lie on an overlay.
for name in containerd kubelet; do
  mkdir -p "$folder/$name" "/var/lib/$name"
  mount --bind "$folder/$name" "/var/lib/$name"
done
# Of the machine's own runtime nothing is to be seen. What the node itself has written there outlives its reboots.
if [ ! -e "$folder/booted" ]; then
  rm -rf /etc/cni /opt/cni /var/lib/cni
  mkdir -p /etc/cni/net.d /opt/cni/bin
  : >"$folder/booted"
fi
: >/etc/resolv.conf

# kubelet wants these values, which belong to the whole machine: it is shown files that have them.
for sysctl in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
  kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  file=$folder/sysctl-$(basename "${sysctl%=*}")
  echo "${sysctl#*=}" >"$file"
  mount --bind "$file" "/proc/sys/${sysctl%=*}"
done

hostname "$node"
ip link set lo up
mount --make-rshared /
exec "$pause"

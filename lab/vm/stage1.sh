#!/bin/busybox sh
# /init of the initial file system, run by its busybox: puts a memory over the machine's own root and goes there.
# The kernel's command line says `stage2=PATH`, the script on the machine's root that goes on.
PATH=/bin
mount -t proc proc /proc
for module in $(cat /modules/order); do insmod "/modules/$module"; done
# `loose`: files are cached as if nobody else changed them; without, each open of a module of node's is a round trip.
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose,access=any root /machine
# Where all writes go: a disk that is kept, or a memory.
disk=$(sed -n 's/.*disk=\([^ ]*\).*/\1/p' /proc/cmdline)
if [ -n "$disk" ]; then
  mount -t devtmpfs devtmpfs /dev
  mount -t ext4 "$disk" /memory
else
  mount -t tmpfs -o mode=0755 memory /memory
fi
mkdir -p /memory/changed /memory/work
mount -t overlay -o lowerdir=/machine,upperdir=/memory/changed,workdir=/memory/work overlay /whole
stage2=$(sed -n 's/.*stage2=\([^ ]*\).*/\1/p' /proc/cmdline)
[ -z "$disk" ] || umount /dev
umount /proc
exec switch_root /whole /bin/sh "$stage2"

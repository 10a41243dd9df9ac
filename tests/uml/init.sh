#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# init of a guest: builds a root of its own, brings the network up, runs the job through guest.py, powers off.
# From the kernel's command line: JOBDIR (the one host folder the guest may write), JOB, GUEST, GUESTS, PORT, VERS.
# The new root is a tmpfs with the host's system folders bound into it, all read only and nosuid; so a job may make
# /volumes or fill /tmp without touching the host. mount(8) is a copy without its set-user-id bit, because in a user
# namespace the host's root is another user.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
mount=$JOBDIR/bin/mount
root=/run
$mount -n -t tmpfs -o mode=755 tmpfs $root || poweroff -f
mkdir -p $root/proc $root/sys $root/dev $root/run/lock $root/tmp $root/mnt $root/volumes $root/job $root/root
chmod 1777 $root/tmp
for d in bin sbin lib lib32 lib64 libx32 usr etc opt var; do
    if [ -L /$d ]; then
        cp -P /$d $root/$d
    elif [ -d /$d ]; then
        mkdir $root/$d
        $mount -n --bind /$d $root/$d && $mount -n -o remount,bind,ro,nosuid $root/$d
    fi
done
$mount -n -t proc proc $root/proc
$mount -n -t sysfs sysfs $root/sys
$mount -n -t devtmpfs dev $root/dev
mkdir -p $root/dev/shm
$mount -n -t tmpfs -o mode=1777 tmpfs $root/dev/shm
$mount -n -t hostfs none $root/job -o "$JOBDIR"
cat >$root/second.sh <<'SECOND'
ip link set lo up
ip addr add 10.99.$((GUEST - 1)).2/24 dev vec0
ip link set vec0 up
ip route add default via 10.99.$((GUEST - 1)).1
hostname "guest$GUEST"
HOME=/root TMPDIR=/tmp LC_ALL=C.UTF-8 PATH=/job/bin:$PATH
export HOME TMPDIR LC_ALL PATH
cd /root
python3 -B /job/jobs/guest.py "/job/jobs/$JOB"
echo 1 >/proc/sys/kernel/sysrq 2>/dev/null
echo o >/proc/sysrq-trigger
SECOND
export JOB GUEST GUESTS PORT VERS
chroot $root /bin/sh /second.sh
poweroff -f

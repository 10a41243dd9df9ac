#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What killed runs leave in /dev/shm goes with the next run, and nothing that is in use or of somebody else does.
if [ -z "$LEFTOVERS" ]; then
    # A /dev/shm of our own: other runs on this machine come and go.
    LEFTOVERS=$([ "$(id -u)" = 0 ] && echo -m || echo -Urm)
    export LEFTOVERS
    unshare "$LEFTOVERS" mount -t tmpfs none /dev/shm 2>/dev/null || { echo "1..0 # SKIP no mount namespaces"; exit 0; }
    exec unshare "$LEFTOVERS" sh -c 'mount -t tmpfs -o mode=1777 none /dev/shm && exec "$@"' own "$0" "$@"
fi
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
SHM=/dev/shm
pids=
trap 'kill -9 $pids 2>/dev/null; cleanup' EXIT

at() { "$VOLNFS" run -s "127.0.0.1:$PORT" -v alice/a "$@"; }
next() { at -- true; }
gone() { [ ! -e "$1" ] && [ ! -L "$1" ]; }
there() { [ -d "$1" ]; }
tree() { ls -d "$SHM"/volnfs-* 2>/dev/null; }
die() { kill -9 "$@" 2>/dev/null; for pid; do wait_for 60 dead "$pid" || return 1; done; }
dead() { state=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null); [ -z "$state" ] || [ "${state%% *}" = Z ]; }

# A run with a task that holds files, stands deep in a volume and sleeps: $run, $task, $dir.
begin() {
    rm -f "$T/task" "$T/dir"
    "$VOLNFS" run -s "127.0.0.1:$PORT" -v alice/a -- sh -c 'cd /volumes/a && mkdir -p 1/2/3/4/5/6/7/8 && cd 1/2/3/4/5/6/7/8 &&
        exec 9>held.$$ && flock 9 && echo "$VOLNFS_RUN" >'"$T"'/dir && echo $$ >'"$T"'/task.new && mv '"$T/task.new $T/task"' &&
        exec sleep 100000' >/dev/null 2>&1 &
    run=$!
    wait_for 120 test -s "$T/task" || return 1
    task=$(cat "$T/task")
    dir=$(cat "$T/dir")
    pids="$pids $run $task"
    there "$dir/cwd"
}

ok "the server starts" server_start
ok "a run" begin
ok "the next run" next
ok "a run's directory stays while its task sleeps" there "$dir"
ok "run and task are killed" die "$run" "$task"
ok "their directory is still there" there "$dir"
cp -r "$dir" "$T/dead"
chmod 700 "$T/dead"
ok "the next run, again" next
ok "a killed run's directory is gone" gone "$dir"
is "and nothing else is there" "$(tree)" ""

ok "another run" begin
ok "volnfs run alone is killed" die "$run"
ok "the next run while the task lives" next
ok "its directory stays" there "$dir"
ok "the task is killed" die "$task"
ok "the next run after that" next
ok "now it is gone" gone "$dir"

# A dead run's directory under all sorts of names and owners.
plant() { cp -r "$T/dead" "$SHM/$1" && chmod "${2:-700}" "$SHM/$1"; }
plant volnfs-run-planta
plant volnfs-run-plantb.123
rm "$SHM/volnfs-run-plantb.123/state"
plant "volnfs-$(id -u)-0123456789abcdef"
mkdir -m 700 "$SHM/volnfs-run-oldold" "$SHM/volnfs-run-oldful" "$SHM/volnfs-run-newnew"
: >"$SHM/volnfs-run-oldold/state.77"
mkdir "$SHM/volnfs-run-oldful/what"
touch -d '2 hours ago' "$SHM/volnfs-run-oldold" "$SHM/volnfs-run-oldful"
plant volnfs-run-opened 755
plant volnfs-run-longer
echo more >>"$SHM/volnfs-run-longer/state"
plant volnfs-run-linked
cp "$T/dead/state" "$T/linked"
ln -sf "$T/linked" "$SHM/volnfs-run-linked/state"
plant volnfs-run-inhold
exec 8<"$SHM/volnfs-run-inhold/state"
ok "a lock is held" flock -s 8
plant volnfs-run-a
plant volnfs-other
cp -r "$T/dead" "$T/victim"
ln -s "$T/victim" "$SHM/volnfs-run-symlnk"
ln -s "$T/victim" "$SHM/volnfs-run-symlnk.1"
plant volnfs-run-inside
rm -rf "$SHM/volnfs-run-inside/cwd"
ln -s "$T/victim" "$SHM/volnfs-run-inside/cwd"
plant volnfs-run-isfifo
rm "$SHM/volnfs-run-isfifo/state"
mkfifo "$SHM/volnfs-run-isfifo/state"
plant volnfs-run-others
others=$(chown 1234:1234 "$SHM/volnfs-run-others" 2>/dev/null && echo volnfs-run-others) || rm -rf "$SHM/volnfs-run-others"

ok "a run among them" timeout 120 "$VOLNFS" run -s "127.0.0.1:$PORT" -v alice/a -- true
for name in volnfs-run-planta volnfs-run-plantb.123 "volnfs-$(id -u)-0123456789abcdef" volnfs-run-oldold volnfs-run-inside; do
    ok "$name is gone" gone "$SHM/$name"
done
for name in volnfs-run-oldful/what volnfs-run-newnew volnfs-run-opened/cwd volnfs-run-longer/cwd volnfs-run-linked/cwd \
    volnfs-run-inhold/cwd volnfs-run-a/cwd volnfs-other/cwd volnfs-run-isfifo/cwd $others; do
    ok "$name stays" there "$SHM/$name"
done
ok "symbolic links stay" test -L "$SHM/volnfs-run-symlnk" -a -L "$SHM/volnfs-run-symlnk.1"
ok "what they lead to, too" diff -r "$T/dead" "$T/victim"

# Without volnfs run: who makes the record sweeps, and the agent does.
alone() {
    env LD_PRELOAD="$VOLNFS_BUILD/libvolnfs_preload.so" VOLNFS_SERVER="127.0.0.1:$PORT" VOLNFS_VOLUMES=alice/a "$@"
}
plant volnfs-run-plantc
ok "a program with the library alone" alone true
ok "makes a record, and sweeps" gone "$SHM/volnfs-run-plantc"
plant volnfs-run-plantd
ok "another one" alone true
ok "finds the record, and does not" there "$SHM/volnfs-run-plantd"
ok "one that starts an agent" alone flock /volumes/a/held true
ok "the agent does" wait_for 60 gone "$SHM/volnfs-run-plantd"
for maps in $(grep -l "$SHM/volnfs-" /proc/[0-9]*/maps 2>/dev/null); do
    agent=${maps#/proc/}
    agent=${agent%/maps}
    [ "$(cat "/proc/$agent/comm")" = volnfs-agent ] && [ "$(readlink "/proc/$agent/ns/mnt")" = "$(readlink /proc/self/ns/mnt)" ] &&
        kill -9 "$agent"
done
exec 8<&-
server_stop
done_testing

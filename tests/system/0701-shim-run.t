#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# volnfs run and doctor: refusals, exit status, signals, read-only volumes, other paths, nothing left behind, no leak.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"

at() { "$VOLNFS" run -s "127.0.0.1:$PORT" "$@"; }
status_is() {   # NAME WANTED COMMAND...
    status_name=$1 wanted=$2
    shift 2
    "$@" >"$T/out" 2>&1
    got=$?
    echo "status $got, wanted $wanted" >>"$T/out"
    [ $got = "$wanted" ]
    result $? "$status_name"
}

status_is "no volume" 2 "$VOLNFS" run true
status_is "no command" 2 "$VOLNFS" run -v alice/a
status_is "a volume without a user" 2 env -u USER "$VOLNFS" run -v a true
like "it says how to name it" "$(cat "$T/out")" "whose volume is a[?] Say USER/VOLUME, or -u USER"
status_is "an unknown option" 2 "$VOLNFS" run --no-such -v alice/a true
status_is "a port that there is not" 1 "$VOLNFS" run -s 127.0.0.1:99999 -v alice/a true
like "that is said" "$(cat "$T/out")" "HOST:PORT, PORT from 1 to 65535"
status_is "a server that is not there" 1 "$VOLNFS" run -s 127.0.0.1:1 -v alice/a true
ok "the server starts" server_start
status_is "a read-only volume that is not there" 1 at -v alice/a:ro true
status_is "the command's status" 7 at -v alice/a -- sh -c 'exit 7'
status_is "a command that is not there" 127 at -v alice/a -- /no/such/command
status_is "a command that dies of a signal" 137 at -v alice/a -- sh -c 'kill -9 $$'
ok "writes" at -v alice/a -- sh -c 'echo one >/volumes/a/f'
is "reads at another path" "$(at -v alice/a=/some/where -- cat /some/where/f)" one
is "two volumes" "$(at -v alice/a -v bob/b=/volumes/c -- sh -c 'cp /volumes/a/f /volumes/c/g; ls /volumes; cat /volumes/c/g')" "a
c
one"
not_ok "no rename between volumes" at -v alice/a -v bob/b -- python3 -c 'import os; os.rename("/volumes/a/f", "/volumes/b/f")'
like "it is EXDEV" "$(cat "$T/out")" "Invalid cross-device link"
not_ok "no write to a read-only volume" at -v alice/a:ro -- sh -c 'echo two >/volumes/a/f'
like "it is EROFS" "$(cat "$T/out")" "Read-only file system"
is "the folder of volumes, beside a volume in the root" \
    "$(at -v bob/b:ro=/b-of-bob -v alice/a -- sh -c 'echo /b-of-bob/* /volumes/*; cd /volumes; realpath a/f; cat a/f ../b-of-bob/../volumes/a/f'; echo $?)" \
    "/b-of-bob/g /volumes/a
/volumes/a/f
one
one
0"
is "all volumes of a user" "$(at -u alice -- ls /volumes)" a
at -v alice/a -- ls -la /volumes >"$T/top" 2>&1
is "the folder of volumes has a way up" "$? $(grep -c ' \.\.$' "$T/top")" "0 1"
is "and what is up there is local" "$(at -v alice/a -- sh -c 'cat /volumes/../proc/sys/kernel/ostype; cd /volumes; cat ../proc/sys/kernel/ostype; ls ../volumes')" "Linux
Linux
a"
is "nothing else is seen beside the volumes" "$(at -v alice/a -- sh -c 'mkdir /volumes/new 2>/dev/null || echo refused')" refused
"$VOLNFS" run -s "127.0.0.1:$PORT" -v alice/a -- sh -c 'trap "echo got; exit 5" TERM; echo ready >/volumes/a/ready; while :; do sleep 0.1; done' >"$T/signal" &
run_pid=$!
wait_for 60 at -v alice/a:ro -- test -e /volumes/a/ready
kill $run_pid
wait $run_pid
is "a signal is passed on and the status comes back" "$? $(cat "$T/signal")" "5 got"
dir=$(at -v alice/a -- sh -c 'echo "$VOLNFS_RUN"; test -d "$VOLNFS_RUN" && echo there')
like "a run has a directory of its own" "$dir" "^there$"
not_ok "no run directory is left" test -e "${dir%%
*}"
if [ "$(id -u)" = 0 ]; then
    # A user of its own, so that the run directories that are counted are this test's.
    drop='import os, sys; os.setgroups([]); os.setgid(43217); os.setuid(43217); os.execvp(sys.argv[1], sys.argv[1:])'
    is "a program that gave up its rights, started from one that did not" \
        "$(at -v alice/a -- python3 -c "$drop" cat /volumes/a/f 2>&1)" one
    lib=$(at -v alice/a -- sh -c 'echo "$LD_PRELOAD"')
    for volumes in 'alice/a:ro' 'alice/a:ro=/other'; do
        python3 -c "$drop" env LD_PRELOAD="$lib" VOLNFS_SERVER="127.0.0.1:$PORT" VOLNFS_VOLUMES="$volumes" \
            sh -c 'cat /volumes/a/f /other/f 2>/dev/null'
    done >"$T/out" 2>&1
    is "runs by environment only" "$(cat "$T/out")" "one
one"
    is "directories of runs that have ended go when the next begins" \
        "$(find /dev/shm /tmp -maxdepth 1 -name 'volnfs-43217-*' | wc -l)" 1
    rm -rf /dev/shm/volnfs-43217-* /tmp/volnfs-43217-*
fi
ok "doctor finds a program it can serve" "$VOLNFS" doctor -s "127.0.0.1:$PORT" cat
not_ok "doctor finds a server missing" "$VOLNFS" doctor -s 127.0.0.1:1
if command -v strace >/dev/null; then
    strace -f -qq -o "$T/trace" -e trace=%file "$VOLNFS" run -s "127.0.0.1:$PORT" -v alice/a -- \
        bash -c 'cd /volumes/a; echo x >y; cat y; ls -lR .; mkdir -p d/e; cp y d/e; mv d z; ln -s y l; cat l; rm -rf z; find . -name y' >/dev/null 2>&1
    grep -E '^[0-9]+ +[a-z0-9_]+\((AT_FDCWD, |[0-9]+, )?"/volumes' "$T/trace" | grep -Ev ' stat\("/volumes", | execve\(' >"$T/out"
    [ ! -s "$T/out" ]
    result $? "no call with a volume's path reaches the kernel"
fi
server_stop
done_testing

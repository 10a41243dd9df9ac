#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# volnfs cp is killed and goes on; the server is killed under it.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"

start() { server_start --lease-time 3 --grace-time 3; }
ok "the server starts" start
VOLNFS_SERVER=127.0.0.1:$PORT
export VOLNFS_SERVER
volnfs create alice/v
cd "$T" || exit 1
head -c 400M /dev/urandom >big

# Whether the part at $1 (a listing's line) has more than $2 bytes.
part_size() { volnfs ls -la "$1" 2>/dev/null | sed -n 's/^-[^ ]* *[0-9]* *[0-9]* *[0-9]* *\([0-9]*\) .*volnfs-part$/\1/p'; }
grown() { size=$(part_size alice/v:/); [ "${size:-0}" -gt "$1" ]; }
local_grown() { [ "$(stat -c %s .big2.volnfs-part 2>/dev/null || echo 0)" -gt "$1" ]; }
# Waits until the copy of $pid has come so far that COMMAND succeeds. While that looks, the copy is held, so that it is not
# over before.
underway() {
    for _ in $(seq 3000); do
        kill -STOP "$pid" || return 1
        "$@" && { kill -CONT "$pid"; return; }
        kill -CONT "$pid"
        sleep 0.02
    done
    return 1
}
end_of() { { kill "-$1" "$pid"; wait "$pid"; } 2>/dev/null; }

"$VOLNFS" cp big alice/v:/big & pid=$!
ok "an upload is under way" underway grown 100000000
end_of 9
not_ok "a reader sees nothing of it" volnfs cat alice/v:/big
like "its part is there" "$(volnfs ls -a alice/v:/)" "^\.big\.volnfs-part$"
ok "it goes on" volnfs cp --resume --verify big alice/v:/big
is "one file" "$(volnfs ls -a alice/v:/)" big
volnfs cat alice/v:/big | cmp - big
is "the same" $? 0

volnfs rm alice/v:/big
"$VOLNFS" cp big alice/v:/big & pid=$!
ok "another is under way" underway grown 100000000
end_of INT
touch big
head -c 1000 /dev/urandom | dd of=big conv=notrunc status=none
ok "a source that changed begins anew" volnfs cp --resume big alice/v:/big
volnfs cat alice/v:/big | cmp - big
is "the same" $? 0

volnfs rm alice/v:/big
"$VOLNFS" cp big alice/v:/big & pid=$!
ok "and one more" underway grown 50000000
server_kill9
ok "the server is killed and starts" start
wait "$pid"
is "the copy goes through" $? 0
server_kill9
start
volnfs cat alice/v:/big | cmp - big
is "the same, after another kill -9" $? 0

"$VOLNFS" cp alice/v:/big big2 & pid=$!
ok "a download is under way" underway local_grown 50000000
end_of 9
not_ok "there is no file yet" test -e big2
ok "it goes on" volnfs cp --resume alice/v:/big big2
ok "the same" cmp big big2
rm big2
"$VOLNFS" cp alice/v:/big big2 & pid=$!
ok "another is under way" underway local_grown 50000000
server_kill9
start >/dev/null
wait "$pid"
is "a download outlives its server" $? 0
ok "the same" cmp big big2
printf x >>big2
ok "another size is copied again" volnfs cp --resume alice/v:/big big2
ok "the same" cmp big big2
dd if=/dev/zero of=big2 bs=1 seek=1000 count=100 conv=notrunc status=none
touch -r big big2
ok "--resume believes size and time" volnfs cp --resume alice/v:/big big2
not_ok "of a damaged copy" cmp big big2
ok "--verify does not" volnfs cp --resume --verify alice/v:/big big2
ok "the same" cmp big big2
done_testing

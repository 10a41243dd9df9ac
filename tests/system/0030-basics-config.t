#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# volnfsd.conf: the manual and the file that is installed have the keys that the server takes, and say the truth
# about their values; the unit of the service is one that systemd takes.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
src=${VOLNFS_SRC:-.}
page=$src/man/volnfsd.conf.5

# What is said of key $1 under KEYS: the first paragraph's first line, without font changes.
summary() {
    awk -v key="$1" '/^\.SH/ { on = $2 == "KEYS" } !on { next }
        /^\.TP/ { getline; gsub(/\\/, ""); here = $2 == key; next } here' "$page" |
        sed -E 's/^\.[A-Z]+ //; s/\\//g; s/"//g; s/ +/ /g' | tr '\n' ' '
}
check() { "$VOLNFSD" --check-config --config "$T/conf"; }
with() { printf 'store = %s\n%s\n' "$T/store" "$*" >"$T/conf"; }

keys=$(sed -nE 's/^    \{"([a-z-]+)", set_.*/\1/p' "$src/server/options.c")
is "keys of volnfsd.conf.5, in their order" \
    "$(awk '/^\.SH/ { on = $2 == "KEYS" } !on { next } /^\.TP/ { getline; gsub(/\\/, ""); print $2 }' "$page")" "$keys"
is "keys of volnfsd.conf" "$(sed -nE 's/^#?([a-z-]+) = .*/\1/p' "$src/server/volnfsd.conf")" "$keys"
ok "volnfsd.conf is right as it is" "$VOLNFSD" --check-config --config "$src/server/volnfsd.conf"
sed 's/^#\([a-z-]* = \)/\1/' "$src/server/volnfsd.conf" >"$T/conf"
is "with every key it names" "$(grep -c '^[a-z-]* = ' "$T/conf")" "$(echo "$keys" | wc -l)"
ok "it is right, too" check
for key in $keys; do
    printf '%s =\n' "$key" >"$T/conf"
    not_ok "$key needs a value" check
    like "which the message says" "$(cat "$T/out")" "conf:1: '' is not a value of $key: "
done
awk '/^\.SH/ { on = $2 == "EXAMPLE" } on && !/^\./ { gsub(/\\/, ""); print }' "$page" >"$T/conf"
ok "the example of the manual is right" check
is "and not empty" "$(grep -c = "$T/conf")" 5

# The limits and defaults that the manual gives.
like "lease-time" "$(summary lease-time)" "^1 to 3600 seconds; 90\. "
like "grace-time" "$(summary grace-time)" "^1 to 3600 seconds; the lease time\. "
for key in lease-time grace-time; do
    for value in 1 3600; do with "$key = $value"; ok "$key $value" check; done
    for value in 0 3601 -1 1s 1K 99999999999999999999; do with "$key = $value"; not_ok "no $key $value" check; done
done
like "cache-size" "$(summary cache-size)" "^A size from 16M to 64T; a quarter of the machine's memory, at most 4G and at least 16M"
for value in 16M 16777216 512MB 512MiB 64T 1g; do with "cache-size = $value"; ok "cache-size $value" check; done
for value in 16777215 15M 65T 1E 1.5G -1M M; do with "cache-size = $value"; not_ok "no cache-size $value" check; done
like "journal-size" "$(summary journal-size)" "^A size from 1M to 1G; 64M\. "
for value in 1M 1G 65536K; do with "journal-size = $value"; ok "journal-size $value" check; done
for value in 0 1023K 1025M x; do with "journal-size = $value"; not_ok "no journal-size $value" check; done
for key in delegations sandbox stay-awake; do
    like "$key" "$(summary $key)" "^on or off ; on\. "
    for value in on off; do with "$key = $value"; ok "$key $value" check; done
    for value in yes 1 ON; do with "$key = $value"; not_ok "no $key $value" check; done
done
like "debug" "$(summary debug)" "^on , off , or some of rpc,ops,state,store with commas between; off\. "
for value in on off rpc ops,state rpc,ops,state,store; do with "debug = $value"; ok "debug $value" check; done
for value in yes 1 ON rpc, ,rpc rpc,,ops on,rpc 'rpc, ops'; do with "debug = $value"; not_ok "no debug $value" check; done
like "log-format" "$(summary log-format)" "^text or json ; text\. "
for value in text json; do with "log-format = $value"; ok "log-format $value" check; done
for value in xml JSON; do with "log-format = $value"; not_ok "no log-format $value" check; done
for key in max-connections max-client-connections max-client-requests max-client-opens max-client-locks \
           max-user-requests max-user-opens max-user-locks max-user-connections max-open-volumes; do
    like "$key" "$(summary $key)" "^1 to 1000000; "
    for value in 1 1000000; do with "$key = $value"; ok "$key $value" check; done
    for value in 0 1000001 -1 1K x; do with "$key = $value"; not_ok "no $key $value" check; done
done
like "max-user-buffers" "$(summary max-user-buffers)" "^A size of at least 4M; "
for value in 4M 1G; do with "max-user-buffers = $value"; ok "max-user-buffers $value" check; done
for value in 0 3M 4095K x; do with "max-user-buffers = $value"; not_ok "no max-user-buffers $value" check; done
like "slow-time" "$(summary slow-time)" "^1 to 3600 seconds; 60\. "
for value in 0 3601 1s; do with "slow-time = $value"; not_ok "no slow-time $value" check; done
like "idle-time" "$(summary idle-time)" "^1 to 3600 seconds; 300\. "
for value in 0 3601 1s; do with "idle-time = $value"; not_ok "no idle-time $value" check; done
like "metrics" "$(summary metrics)" "^PORT or ADDRESS : PORT ; none\. "
for value in 9049 :9049 127.0.0.1:0 '[::1]:9049'; do with "metrics = $value"; ok "metrics $value" check; done
for value in 65536 127.0.0.1: : x; do with "metrics = $value"; not_ok "no metrics $value" check; done
like "listen" "$(summary listen)" "^ADDRESS : PORT ; 127\.0\.0\.1:2049 unless"
with "$(for i in $(seq 32); do echo "listen = :$i"; done)"
ok "32 lines of listen" check
echo 'listen = :33' >>"$T/conf"
not_ok "not 33" check
for value in 127.0.0.1 :65536 : ::1:; do with "listen = $value"; not_ok "no listen $value" check; done

# Lines.
printf '  # a comment\n\t; another\n\nstore : %s/x ; a third\n   debug=on\nlease-time = never\n' "$T" >"$T/conf"
not_ok "blanks, comments, colons" check
like "and the sixth line is the wrong one" "$(cat "$T/out")" "conf:6: 'never' is not a value of lease-time"
printf 'lease-time = never\nlease-time = 5\nstore = %s\n' "$T/x" >"$T/conf"
not_ok "a wrong value is wrong even if another follows" check
printf '[volnfsd]\nstore = %s\n' "$T/x" >"$T/conf"
not_ok "no sections" check
like "which the message says" "$(cat "$T/out")" "conf:2: there are no sections in this file, but here is \[volnfsd\]"
printf 'store = %s\nSTORE = x\n' "$T/x" >"$T/conf"
not_ok "no capitals" check
like "and here it lists the keys" "$(cat "$T/out")" "conf:2: there is no key 'STORE'; there are $(echo "$keys" |
    tr '\n' ',' | sed 's/,$//; s/,/, /g; s/\(.*\), /\1 and /')$"
line() { printf "store = /%0$1d\n" 0 >"$T/conf"; }
line 189
ok "a line of 198 characters" check
line 191
not_ok "no longer one" check
"$VOLNFSD" --check-config --config "$T/nowhere" 2>"$T/out"
is "a file that is not there is status 2" $? 2
not_ok "nothing was made" ls -d "$T/store" "$T/x"

# The service, and what else is installed.
documented=$(sed -n "s/^documented='\(.*\)'.*/\1/p" "$src/debian/check")
like "make check-deb starts a server by a command" "$documented" 'volnfsd --config'
ok "which is that of volnfsd.8" sh -c "sed 's/\\\\//g' '$src/man/volnfsd.8' | grep -Fqx -e '$documented'"
is "the packages are of this release" "$(sed -n '1s/.*(\(.*\)).*/\1/p' "$src/debian/changelog")" \
    "$("$VOLNFSD" --version | sed 's/.* //')"
for name in $(grep -ohE 'name: VOLNFS_\w+' "$src"/man/examples/*.yaml | sed 's/.* //'); do
    ok "$name of the examples is one that the client knows" grep -q "getenv(\"$name\")" -r "$src/client"
done
if command -v systemd-analyze >/dev/null; then
    sed "s|@sbindir@|$(cd "$VOLNFS_BUILD" && pwd)|; s|@sysconfdir@|/etc|; /^Documentation/d" \
        "$src/server/volnfsd.service.in" >"$T/volnfsd.service"
    if systemd-analyze verify --man=no "$T/volnfsd.service" >"$T/out" 2>&1 || [ -s "$T/out" ]; then
        is "systemd takes the unit" "$(grep -F "volnfsd.service" "$T/out" | grep -v 'sers.*not known')" ""
    fi
    systemd-analyze security --no-pager --offline=true "$T/volnfsd.service" >"$T/security" 2>"$T/out" &&
        exposure=$(sed -n 's/.*xposure level.*: \([0-9]*\)\.\([0-9]\).*/\1\2/p' "$T/security") &&
        is "little is exposed: less than 2.0 of 10" "$((${exposure:-100} < 20))" 1
fi
done_testing

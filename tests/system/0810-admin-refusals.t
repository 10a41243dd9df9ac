#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The volnfs command and volnfsd: volumes made, shown, changed and destroyed; refusals; stop and restart.
build=${VOLNFS_BUILD:-$(pwd)}
PATH=$build:$PATH
unset VOLNFS_STORE VOLNFS_FAULT
dir=$(mktemp -d "${TMPDIR:-/tmp}/volnfs-admin.XXXXXX") || exit 1
store=$dir/store
server=
n=0
failed=0

stop_server() {
    [ -n "$server" ] || return 0
    kill "$server" 2>/dev/null
    wait "$server"
    code=$?
    server=
    return $code
}
trap 'stop_server; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

start_server() {
    : >"$dir/ready"
    volnfsd --store "$store" --listen 127.0.0.1:0 --cache-size 16M "$@" >"$dir/ready" 2>>"$dir/log" &
    server=$!
    tries=0
    until grep -q ready "$dir/ready"; do
        tries=$((tries + 1))
        if [ $tries -gt 1200 ] || ! kill -0 "$server" 2>/dev/null; then
            sed 's/^/# /' "$dir/log"
            return 1
        fi
        sleep 0.1
    done
}

# t NAME STATUS TEXT COMMAND...: the command ends with STATUS and its output (both streams) has TEXT.
t() {
    name=$1 want=$2 text=$3
    shift 3
    n=$((n + 1))
    out=$("$@" 2>&1 </dev/null)
    got=$?
    if [ $got -eq "$want" ] && printf '%s\n' "$out" | grep -qF -- "$text"; then
        echo "ok $n - $name"
    else
        failed=1
        echo "not ok $n - $name"
        echo "# $* gave status $got (wanted $want), and:"
        printf '%s\n' "$out" | sed 's/^/#   /'
    fi
}
v() {
    volnfs --store "$store" "$@"
}
without() { # the second command's output lacks the text
    text=$1
    shift
    out=$("$@") || return 1
    ! printf '%s\n' "$out" | grep -qF -- "$text"
}

# Used wrongly.
t "no verb" 2 "usage: volnfs" volnfs
t "unknown verb" 2 "there is no verb 'frob'" volnfs frob
t "no store named" 2 "--store DIR or set VOLNFS_STORE" volnfs list
t "store missing" 1 "volnfsd --store" volnfs --store "$dir/none" list
mkdir "$store"
t "no server" 1 "no server is running on store $store: start one with 'volnfsd --store $store'" v list
t "unknown option" 2 "usage: volnfs" v list --frob
t "its message names the verb" 2 "volnfs list: unrecognized option '--frob'" v list --frob
t "no NFS server" 1 "no NFS server answers at 127.0.0.1:1: Connection refused; is volnfsd running there?" \
    volnfs ls --server 127.0.0.1:1 alice/mydata:/
t "nor for run" 1 "no NFS server answers at 127.0.0.1:1: Connection refused; is volnfsd running there?" \
    volnfs run --server 127.0.0.1:1 -v alice/mydata -- true
t "a port that there is not" 2 "HOST:PORT, PORT from 1 to 65535" volnfs ls --server 127.0.0.1:99999 alice/mydata:/
t "a volume without its colon" 2 "say USER/VOLUME:/PATH, with a colon" volnfs ls alice/mydata
t "a verb that needs no store does not name it" 2 "usage: volnfs ls [-s" volnfs ls
t "nothing but local files" 2 "say USER/VOLUME:/PATH of what is in a volume" volnfs cp a b
t "help" 0 "USER/VOLUME" volnfs help create
t "version" 0 "volnfs " volnfs version
for option in -h --help; do
    t "server's $option" 0 "usage: volnfsd --store DIR" volnfsd $option
done
for option in -V --version; do
    t "server's $option" 0 "volnfsd 0" volnfsd --store /none $option
    t "$option" 0 "volnfs 0" volnfs $option
done
t "an option that the server does not have" 2 "usage: volnfsd" volnfsd -k
t "server without store" 2 "--store DIR" volnfsd
t "server with a bad address" 2 "ADDRESS:PORT" volnfsd --store "$store" --listen 127.0.0.1
t "server with a bad size" 2 "cache-size" volnfsd --store "$store" --cache-size 1M
printf 'store = %s\nlease-time = 30\nlisten = 127.0.0.1:0\n' "$store" >"$dir/good.conf"
printf 'store = %s\ncolour = red\n' "$store" >"$dir/key.conf"
printf '# comment\n\nlease-time = soon\n' >"$dir/value.conf"
printf 'store\n' >"$dir/form.conf"
t "good configuration" 0 "" volnfsd --config "$dir/good.conf" --check-config
t "unknown key" 2 "key.conf:2: there is no key 'colour'" volnfsd --config "$dir/key.conf" --check-config
t "bad value" 2 "value.conf:3: 'soon'" volnfsd --config "$dir/value.conf" --check-config
t "bad line" 2 "form.conf:1" volnfsd --config "$dir/form.conf" --check-config
printf 'listen 127.0.0.1:0\n' >"$dir/equals.conf"
t "a line without its equals sign" 2 "equals.conf:1: 'listen 127.0.0.1': a line has the form KEY = VALUE" \
    volnfsd --config "$dir/equals.conf" --check-config
t "no configuration" 2 "cannot read" volnfsd --config "$dir/none.conf" --check-config

start_server || { echo "Bail out! the server did not start"; exit 1; }
t "ready line" 0 "volnfsd: ready: serving $store on 127.0.0.1:" cat "$dir/ready"
t "real port" 1 "" grep -q ':0$' "$dir/ready"
t "second server" 1 "is open in another volnfsd" volnfsd --store "$store" --listen 127.0.0.1:0
t "status" 0 "store   $store" v status
t "create" 0 "" v create alice/mydata -o compression=zstd-3,quota=10G --owner 1000:100 --mode 0750
t "create again" 1 "exists already" v create alice/mydata
t "create with a bad property" 2 "takes off, zstd" v create alice/x -o compression=lzma
t "create with a bad owner" 2 "UID:GID" v create alice/x --owner me
t "create with a bad mode" 2 "octal" v create alice/x --mode 888
for verb in create destroy scrub get restore dump check "snapshot create" "snapshot list" diff; do
    for name in alice alice/ /x alice/-x .alice/x alice/my:data alice/mydata@-x alice/mydata@; do
        case $verb:$name in
        "snapshot list":alice) continue ;;
        esac
        # shellcheck disable=SC2086
        t "$verb with the name $name" 2 "" v $verb "$name"
    done
done
t "a snapshot" 0 "" v snapshot create alice/mydata@s
t "a clone with a bad name" 2 "USER/VOLUME" v clone alice/mydata@s alice
t "a clone of what cannot be a snapshot" 2 "USER/VOLUME@NAME" v clone alice/mydata alice/new
t "a clone of a snapshot that is not there" 1 "there is no 'alice/mydata@t'" v clone alice/mydata@t alice/new
t "a new name that is none" 2 "" v snapshot rename alice/mydata@s -x
t "a way back to what cannot be a snapshot" 2 "" v snapshot rollback alice/mydata@
t "no snapshot" 0 "" v snapshot destroy alice/mydata@s
t "a bad name says what one is" 2 "USER/VOLUME" v create alice
t "a bad name of two" 2 "USER/VOLUME" v destroy alice alice/none
t "set with a bad name" 2 "USER/VOLUME" v set alice readonly=on
t "get with the name of a user" 2 "USER/VOLUME" v get alice
t "a grant to no network" 2 "is not a network" v grant 10.0.0.0/99 /
t "a grant on no object" 2 "is no object of a grant" v grant 10.0.0.0/8 alice/-
for verb in ls du cat mkdir rm; do
    t "$verb at a server without a name" 2 "HOST:PORT" volnfs $verb --server : alice/mydata:/x
done
t "destroy of a snapshot" 2 "names a snapshot, not a volume: see 'volnfs help snapshot'" v destroy alice/mydata@monday
t "create another" 0 "" v create bob/b.1
t "list" 0 "alice/mydata" v list
t "list shows the quota" 0 "10G" v list alice
t "list of one user" 0 "" without bob/ v list alice
t "list of nobody" 1 "there is no user 'carol'" v list carol
t "list as json" 0 '"name": "alice/mydata"' v list --json
t "json before the verb" 0 '"quota_bytes": 10737418240' v --json list alice/mydata
t "store after the verb" 0 "alice/mydata" volnfs list --store "$store"
t "store in the environment" 0 "alice/mydata" env VOLNFS_STORE="$store" volnfs list
t "get" 0 "zstd-3" v get alice/mydata compression
t "get all" 0 "readonly" v get alice/mydata
t "get of an unknown property" 2 "no property 'colour'" v get alice/mydata colour
t "get of an unknown volume" 1 "there is no volume 'alice/none'" v get alice/none
t "set" 0 "" v set alice/mydata compression=off readonly=on,quota=none
t "set is seen" 0 "off" v get alice/mydata compression
t "set wrongly changes nothing" 2 "quota" v set alice/mydata readonly=off quota=much
t "still read-only" 0 "on" v get alice/mydata readonly
t "check beside the server" 0 "alice/mydata: clean" v check alice/mydata
t "check of an unknown volume" 1 "there is no volume 'alice/none'" v check alice/none
t "check without a name" 2 "--all" v check
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    chmod 755 "$dir" "$store"
    t "another user may not" 1 "only root and the user that volnfsd runs as" \
        setpriv --reuid 12345 --regid 12345 --clear-groups volnfs --store "$store" list
else
    n=$((n + 1))
    echo "ok $n - another user may not # SKIP needs root and setpriv"
fi
stop_server
t "clean stop" 0 "" test $? -eq 0
t "the socket is gone" 1 "" test -e "$store/control.sock"
t "check with the server down" 0 "bob/b.1: clean" v check --all --data
t "check as json" 0 '"clean": true' v check --all --json
start_server || { echo "Bail out! the server did not start again"; exit 1; }
t "volumes outlive the server" 0 "alice/mydata" v list
t "properties outlive the server" 0 "on" v get alice/mydata readonly
t "destroy" 0 "" v destroy alice/mydata
t "destroy again" 1 "there is no volume" v destroy alice/mydata
t "destroyed is gone" 0 "" without alice/mydata v list
t "one folder is left" 0 "1" sh -c "ls '$store/volumes' | wc -l"
kill -9 "$server"
wait "$server" 2>/dev/null
server=
t "a killed server is said to be down" 1 "no server is running" v list
start_server || { echo "Bail out! the server did not start after kill -9"; exit 1; }
t "and starts again" 0 "bob/b.1" v list
echo "1..$n"
exit $failed

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# volnfs cp, ls, cat, rm, du, mkdir, mv against a private server: what they refuse, odd names and sizes both ways, one
# failing among many, terminals.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"

command -v python3 >/dev/null || skip_all "python3 is not installed"
ok "the server starts" server_start
VOLNFS_SERVER=127.0.0.1:$PORT
export VOLNFS_SERVER
volnfs create alice/v && volnfs create bob/other
cd "$T" || exit 1
same() { diff -r --no-dereference "$1" "$2"; }

# What is refused.
not_ok "cp without a volume" volnfs cp a b
not_ok "cp with one argument" volnfs cp alice/v:/a
not_ok "a source that is not there" volnfs cp nothing alice/v:/
like "is named with the reason" "$(cat "$T/out")" "nothing: No such file"
not_ok "a file of the volume that is not there" volnfs cp alice/v:/nothing .
none='there is no volume alice/none on this server, or none that you may see'
for verb in ls du cat mkdir rm; do
    not_ok "$verb in a volume that is not there" volnfs $verb alice/none:/x
    like "says that" "$(cat "$T/out")" "alice/none:/x: $none"
done
for pair in "LICENSE alice/none:/" "alice/none:/ here"; do
    # shellcheck disable=SC2086
    not_ok "cp $pair" volnfs cp -r $pair
    like "says that, too" "$(cat "$T/out")" "alice/none:/: $none"
done
not_ok "mv in a volume that is not there" volnfs mv alice/none:/a alice/none:/b
like "says that" "$(cat "$T/out")" "$none"
not_ok "a user that is not there" volnfs ls nobody/v:/
like "has no volume" "$(cat "$T/out")" "there is no volume nobody/v on"
not_ok "a snapshot that is not there" volnfs ls alice/v@monday:/a
like "is called one" "$(cat "$T/out")" "there is no snapshot alice/v@monday on"
not_ok "a snapshot of a volume that is not there" volnfs ls alice/none@monday:/a
like "is not" "$(cat "$T/out")" "$none"
not_ok "nor a file that is not there a volume" volnfs ls alice/v:/none
is "that says why" "$(cat "$T/out")" "volnfs: alice/v:/none: No such file or directory"
not_ok "no server" volnfs ls -s 127.0.0.1:1 alice/v:/
like "says why" "$(cat "$T/out")" "refused"
not_ok "a bad server" volnfs ls -s '[::1' alice/v:/
not_ok "a bad number of jobs" volnfs cp -j 0 nothing alice/v:/
mkdir dir && echo x >dir/x
not_ok "a directory without -r" volnfs cp dir alice/v:/
not_ok "a file into a file" volnfs cp dir/x alice/v:/no/such/dir/x
is "nothing was made" "$(volnfs ls -a alice/v:)" ""

# A tree of oddities, there and back.
python3 - <<'EOF'
import os
os.makedirs('tree/sub dir/empty')
names = ['plain', 'with space', '-dash', '--', 'new\nline', '\u00fcml\u00e4ut', '\U0001f4be', '.hidden', 'tab\t', 'back\\slash', "quo'te\"",
         '$(x)`y`', 'colon:in:it', 'a' * 255, '\x1b[31mred', '*?[']
for i, n in enumerate(names):
    with open('tree/' + n, 'wb') as f:
        f.write(n.encode() * (i + 1))
K, M = 1 << 10, 1 << 20
for size in (0, 1, 4095, 4096, 4097, 128 * K - 1, 128 * K, 128 * K + 1, M - 1, M, M + 1, 4 * M, 4 * M + 1, 16 * M, 16 * M + 1, 50 * M + 7):
    with open('tree/sub dir/%d' % size, 'wb') as f:
        f.write(os.urandom(size))
with open('tree/mixed', 'wb') as f:                        # holes between data, and one at the end
    for at in (3 * M, 9 * M + 5, 40 * M):
        f.seek(at)
        f.write(b'data' * 1000)
    f.truncate(70 * M)
d = 'tree'
for i in range(60):
    d += '/deep%02d' % i
    os.mkdir(d)
open(d + '/bottom', 'w').write('here')
os.symlink('plain', 'tree/link')
os.symlink('no/such/thing', 'tree/dangling')
os.symlink('/etc/passwd', 'tree/absolute')
os.symlink('sub dir', 'tree/dirlink')
os.chmod('tree/plain', 0o640)
os.chmod('tree/with space', 0o400)
os.chmod('tree/sub dir/1', 0o4755)
os.chmod('tree/sub dir/empty', 0o1777)
for root, dirs, files in os.walk('tree', topdown=False):
    for n in files:
        os.utime(os.path.join(root, n), (1000000000, 1234567890.5), follow_symlinks=False)
    os.utime(root, (1000000000, 1234567890.25))
EOF
listing() { (cd "$1" && find . -printf '%P|%y|%m|%s|%T@|%l\n' | sed '1{/^|/d}' | sed 's/|d|\([0-7]*\)|[0-9]*|/|d|\1||/; s/|l|[0-7]*|/|l||/' | sort); }
ok "a tree goes in" volnfs cp -rp --verify tree alice/v:/
ok "and out" volnfs cp -rp alice/v:/tree back
ok "all the same" same tree back
listing tree >want; listing back >got
ok "modes and times too" cmp want got
ok "from volume to volume" volnfs cp -rp -j 3 alice/v:/tree bob/other:/copy
ok "and out of there" volnfs cp -rp -j 1 bob/other:/copy back2
listing back2 >got
ok "the same, modes and times" cmp want got
ok "the same contents" same tree back2
like "holes are kept in the volume" "$(volnfs du alice/v:/tree/mixed)" "^([0-9]{1,6}|[1-3][0-9]{6})	"
is "holes are kept on the way back" "$([ "$(du -k back/mixed | cut -f1)" -lt 5000 ] && echo yes)" yes
is "no parts are left" "$(volnfs ls -aR alice/v:/ bob/other:/ | grep -c volnfs-part)" 0
ok "over what is there, without -p" volnfs cp -r tree alice/v:/
rm -rf back && volnfs cp -r alice/v:/tree back
ok "all the same again" same tree back
is "set-id bits only with -p" "$(stat -c %a 'back/sub dir/1')" 755

# Symbolic links.
ok "without -r a link is followed into the volume" volnfs cp tree/link alice/v:/l1
ok "as a file" test "$(volnfs ls -l alice/v:/l1 | cut -c1)" = -
ok "out of the volume through a link" volnfs cp alice/v:/tree/link l2
ok "same" cmp l2 tree/plain
ok "a path through a link" volnfs cp alice/v:/tree/dirlink/4097 l3
ok "same" cmp l3 'tree/sub dir/4097'
not_ok "an absolute link leads nowhere" volnfs cat alice/v:/tree/absolute
not_ok ".. does not leave the volume" volnfs ls alice/v:/../../bob/other
rm -f l1 l2 l3

# 1 GiB of hole.
truncate -s 1G sparse && printf end >>sparse
ok "a sparse file goes in" volnfs cp sparse alice/v:/sparse
ok "it takes next to nothing" test "$(volnfs du alice/v:/sparse | cut -f1)" -le 1048576
ok "and comes back" volnfs cp alice/v:/sparse sparse2
is "as it was" "$(stat -c %s sparse2) $(tail -c 3 sparse2)" "$(stat -c %s sparse) end"
is "sparse" "$([ "$(du -k sparse2 | cut -f1)" -lt 2000 ] && echo yes)" yes
rm -f sparse sparse2

# Many small files.
python3 -c "
import os
os.mkdir('many')
for i in range(5000): open('many/%d' % i, 'w').write('%d ' % i * 50)"
ok "5,000 files go in" volnfs cp -r many alice/v:/
ok "and out" volnfs cp -r alice/v:/many many2
ok "all the same" same many many2
is "ls counts them" "$(volnfs ls alice/v:/many | wc -l)" 5000
ok "--resume has nothing to do" volnfs cp -r --resume many alice/v:/
ok "rm -r" volnfs rm -r alice/v:/many
not_ok "it is gone" volnfs ls alice/v:/many

# One of several fails.
not_ok "one of three sources is missing" volnfs cp dir/x missing tree/plain alice/v:/
ok "the others were copied" volnfs cat alice/v:/x alice/v:/plain
mkdir pit && mkfifo pit/fifo && echo y >pit/y
not_ok "a fifo is told of" volnfs cp -r pit alice/v:/
is "and the rest goes on" "$(volnfs cat alice/v:/pit/y)" y
volnfs mkdir alice/v:/clash alice/v:/clash/x
not_ok "a file over a directory" volnfs cp -r dir/x alice/v:/clash
like "is named" "$(cat "$T/out")" "clash/x"
not_ok "a directory into itself" volnfs cp -r alice/v:/clash alice/v:/clash
not_ok "all of a volume into a new directory of it" timeout 300 "$VOLNFS" cp -r bob/other: bob/other:/new
like "says so" "$(cat "$T/out")" "into itself: bob/other:/new: Too many levels"
is "what else there is was copied" "$(volnfs ls bob/other:/new)" "$(volnfs ls bob/other: | grep -vx new)"
not_ok "rm of a directory without -r" volnfs rm alice/v:/clash
not_ok "rm of nothing" volnfs rm alice/v:/nothing
ok "rm -f of nothing" volnfs rm -f alice/v:/nothing
not_ok "rm of a volume's root" volnfs rm -rf alice/v:/
like "says what does that" "$(cat "$T/out")" "'volnfs destroy' removes a volume"

# Limits and rights.
volnfs create alice/small -o quota=4M
not_ok "no room" volnfs cp 'tree/sub dir/16777216' alice/small:/
like "says so" "$(cat "$T/out")" "16777216: (Disk quota exceeded|No space left)"
ok "what fits goes in" volnfs cp tree/plain alice/small:/
is "and nothing else" "$(volnfs ls -a alice/small:/)" plain
volnfs set alice/small readonly=on
not_ok "a read-only volume" volnfs cp tree/plain alice/small:/other
like "says so" "$(cat "$T/out")" "Read-only"
not_ok "rm there" volnfs rm alice/small:/plain
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    as() { setpriv --reuid 1234 --regid 1234 --clear-groups "$@"; }
    chmod 755 "$T"
    not_ok "no right to write" as "$VOLNFS" cp tree/link alice/v:/stolen
    like "says so" "$(cat "$T/out")" "denied"
    volnfs mkdir alice/v:/private && echo s >secret && chmod 600 secret && volnfs cp -p secret alice/v:/private/
    not_ok "no right to read" as "$VOLNFS" cat alice/v:/private/secret
fi

# The ratio is one of what is on the disk, also while much is not.
volnfs create alice/random
dd if=/dev/urandom of=random bs=1M count=16 2>/dev/null
echo x >one
ok "little" volnfs cp one alice/random:/
ok "and much that does not get smaller" volnfs cp random alice/random:/
ratios() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        volnfs list alice/random && volnfs status
    done | awk '$1 == "alice/random" { r = NF > 10 ? $(NF - 1) : $4; print r; if (r != "-" && r + 0 > 1.05) bad = 1; n++ } END { exit bad || n != 20 }'
}
ok "has no ratio to boast of" ratios
volnfs destroy alice/random

# The small verbs.
is "cat of two" "$(volnfs cat alice/v:/tree/plain alice/v:/tree/.hidden | wc -c)" "$(cat tree/plain tree/.hidden | wc -c)"
volnfs cat 'alice/v:/tree/sub dir/52428807' >big
ok "cat of a big one" cmp big 'tree/sub dir/52428807'
not_ok "cat into a full disk" sh -c "$VOLNFS cat alice/v:/tree/plain >/dev/full"
ok "mkdir -p" volnfs mkdir -p alice/v:/p/q/r
ok "mkdir -p again" volnfs mkdir -p alice/v:/p/q/r
not_ok "mkdir of one that is there" volnfs mkdir alice/v:/p
not_ok "mkdir of a volume that is there" volnfs mkdir alice/v:/
like "says so" "$(cat "$T/out")" "File exists"
not_ok "mkdir of a volume that is not there" volnfs mkdir alice/none:/
like "says so" "$(cat "$T/out")" "$none"
ok "mv to a new name" volnfs mv alice/v:/x alice/v:/p/moved
ok "mv into a directory" volnfs mv alice/v:/p/moved alice/v:/plain alice/v:/p/q
is "they are there" "$(volnfs ls alice/v:/p/q | tr '\n' ' ')" "moved plain r "
not_ok "mv to another volume" volnfs mv alice/v:/p bob/other:/p
like "says what to do" "$(cat "$T/out")" "volnfs cp"
ok "ls --json is JSON" sh -c "$VOLNFS ls --json -R alice/v:/ | python3 -c 'import json,sys; assert len(json.load(sys.stdin)) > 100'"
is "du adds up" "$(volnfs du -s alice/v:/p | cut -f1)" "$(($(stat -c %s dir/x) + $(stat -c %s tree/plain)))"
is "names are raw in a pipe" "$(volnfs ls alice/v:/tree | grep -c "$(printf '\033')")" 1
# A tree that is deeper than a small stack, and than any path may be; nothing but the stack is small.
deep() {
    python3 - "$PORT" "$1" <<'EOF'
import os, sys
sys.path.insert(0, os.environ.get("VOLNFS_SRC", ".") + "/tests/lib")
from nfswire import *
c = Conn(("127.0.0.1", int(sys.argv[1])))
fh, left = handle(c, b"alice", b"v"), int(sys.argv[2])
while left:
    n = min(left, 40)
    r = c.compound(0, [putfh(fh)] + [mkdir(b"deep")] * n + [getfh()])
    fh, left = last_handle(r.results), left - n
EOF
}
small() { (ulimit -S -s "$1" && shift && "$@"); }
ok "a deep tree" deep 3000
ok "du of it" small 384 volnfs du -s alice/v:/deep
ok "ls of it" small 384 volnfs ls -R alice/v:/deep
like "its end" "$(tail -c 20 "$T/out" | head -1)" "/deep/deep:$"
ok "cp of it" small 384 volnfs cp -r alice/v:/deep alice/v:/deep2
is "is as deep" "$(volnfs ls -R alice/v:/deep2 | grep -c .)" "$(volnfs ls -R alice/v:/deep | grep -c .)"
not_ok "too deep for the stack there is" sh -c "ulimit -s 512; exec $VOLNFS du -s alice/v:/deep"
like "says so" "$(cat "$T/out")" "File name too long"
ok "rm of it" small 384 volnfs rm -r alice/v:/deep alice/v:/deep2
not_ok "it is gone" volnfs ls alice/v:/deep
if command -v script >/dev/null; then
    script -qec "$VOLNFS ls alice/v:/tree" /dev/null >typed </dev/null
    is "and escaped on a terminal" "$(grep -c "$(printf '\033')" typed) $(grep -c '\\033\[31mred' typed)" "0 1"
    script -qec "$VOLNFS cp 'tree/sub dir/52428807' alice/v:/bar" /dev/null >typed </dev/null
    like "the bar reaches the end" "$(cat typed)" "100%.*1 of 1 files"
fi
done_testing

# SPDX-License-Identifier: Apache-2.0
# What ordinary programs do in a folder D: run on a local one and on a volume, the output must be the same.
cd "$D" || exit 1
pwd
umask 022
echo "== redirections"
echo hello >a.txt
echo more >>a.txt
cat a.txt
cat <<X >here
line $((1 + 1))
X
cat <here
{ echo one; echo two >&2; } >o1 2>&1
cat o1
exec 5<>a.txt
read -r x <&5
echo "read $x"
echo zzz >&5
exec 5>&-
cat a.txt
for i in 1 2 3; do echo $i; done | tee t1 | wc -l
set -C
echo no >a.txt
set +C
cat none
cat a.txt/x
echo x >none/x
echo "== folders"
mkdir -p d/e/f
mkdir d
echo x >d/e/f/y
cp -a d d2
diff -r d d2 && echo same
mv d2 d3
find . | sort
rmdir d3
rm -r d3
mv d d/e
mv a.txt d/e
mv d/e/a.txt .
(cd d/e && pwd && echo sub >../s && cd .. && pwd && cat s)
cd d/e/f/../../.. && pwd
ls -A
ls -l here | cut -c1-10
touch ls-1 ls-2 ls-3
echo ls-*
echo "== links"
ln -s a.txt l
readlink l
cat l
ln a.txt hard
stat -c '%h %s %F %n' a.txt hard l
ln -s nowhere dangling
cat dangling
echo made >dangling
cat nowhere
ln -s loop loop
cat loop
ln -s d/e dirlink
ls dirlink
cat dirlink/f/y
cat dirlink/../s
ln -s /etc/hostname out
cmp out /etc/hostname && echo linked out
ln a.txt here
rm l hard dangling loop dirlink out
echo "== attributes"
chmod 600 here
touch -d '2020-01-01 00:00:00 UTC' here
TZ=UTC stat -c '%a %Y %s' here
test -x here || echo not executable
truncate -s 100 here
stat -c %s here
truncate -s 5 here
cat here
echo
touch -r here t1
test t1 -nt here || test t1 -ot here || echo equal times
echo "== bytes"
seq 1 200000 >nums
wc nums
tail -n 2 nums
head -c 10 nums
dd if=nums of=nums2 bs=7000 2>/dev/null
cmp nums nums2 && echo equal
dd if=nums of=nums2 bs=1000 skip=3 seek=5 count=2 conv=notrunc 2>/dev/null
cksum nums2
sort -rn nums | head -n 1
sed -i s/hello/bye/ a.txt
cat a.txt
split -l 50000 nums part-
ls part-*
cat part-* | cmp - nums && echo split
tac nums | tail -n 1
grep -c 7 nums
tar cf t.tar d nums
mkdir tt
tar xf t.tar -C tt && diff -r d tt/d && cmp nums tt/nums && echo tar
gzip -k nums && gzip -dc nums.gz | cmp - nums && echo gzip
install -m 755 nums inst
stat -c %a inst
df . >/dev/null && echo df
du -s . >/dev/null && echo du
echo "== programs"
printf '#!/bin/sh\necho script "$@"\n' >s.sh
./s.sh
chmod +x s.sh
./s.sh 1 2
cp /bin/echo ./myecho
./myecho from a program here
echo 'echo sourced "$1"' >src
. ./src x
sh src y
env -i ./s.sh without environment
flock lk echo flocked
(flock 9; flock -n lk echo no || echo busy) 9>lk
flock -n lk echo free
xargs -n1 echo <a.txt
(sleep 0.1; echo late >>nums2) & wait
tail -n 1 nums2
exec 7<nums
(read -r x <&7; echo "$x")
read -r x <&7
echo "$x"
exec 7<&-
echo "== end"
rm -rf ./*
ls -A

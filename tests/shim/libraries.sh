# SPDX-License-Identifier: Apache-2.0
# Run with D set to a folder, locally and in a volume: programs in it whose libraries lie in it. Prints what they see.
set -u
mkdir -p "$D/env/bin" "$D/env/lib" "$D/env/other" "$D/other" "$D/old/lib"
cd "$D/env" || exit 1
cat >near.c <<'C'
int near_number(void) { return NUMBER; }
C
cat >far.c <<'C'
int near_number(void);
int far_number(void) { return 10 * near_number(); }
C
cat >prog.c <<'C'
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int far_number(void);
extern char **environ;
int main(int argc, char **argv)
{
    char text[4096] = "", real[4096] = "", comm[64] = "";
    const char *list = getenv("LD_LIBRARY_PATH");
    int fds = 0, strange = 0;
    Dl_info info;
    ssize_t n = readlink("/proc/self/exe", text, sizeof(text) - 1);
    FILE *f = fopen("/proc/self/comm", "r");
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *e;
    void *again;

    (void)argc;
    while ((e = readdir(dir)) != NULL)
        if (e->d_name[0] != '.') {
            char name[300], to[4096];
            snprintf(name, sizeof(name), "/proc/self/fd/%s", e->d_name);
            ssize_t k = readlink(name, to, sizeof(to) - 1);
            to[k > 0 ? k : 0] = 0;
            fds += strstr(to, ".so") != NULL;
        }
    closedir(dir);
    for (char **v = environ; *v != NULL; v++)
        strange += strstr(*v, "VOLNFS_NEEDED") != NULL || (strncmp(*v, "LD_LIBRARY_PATH=", 16) == 0 && strstr(*v, "/lib.") != NULL);
    f = f != NULL && fgets(comm, sizeof(comm), f) != NULL ? f : NULL;
    dladdr(dlsym(RTLD_DEFAULT, "far_number"), &info);
    again = dlopen(realpath(info.dli_fname, real), RTLD_NOW | RTLD_NOLOAD);
    printf("%s: %d exe %.*s comm %s", argv[0], far_number(), (int)n, text, comm);
    printf("  library %s again %s path %s fds %d strange %d\n", real, again != NULL ? "same" : dlerror(),
           list != NULL ? list : "(none)", fds, strange);
    fflush(stdout);
    if (argc == 2 && strcmp(argv[1], "again") == 0)
        return execl("/proc/self/exe", argv[0], (char *)NULL);
    return argc > 2 && strcmp(argv[1], "start") == 0 ? system(argv[2]) != 0 : 0;
}
C
cc -DNUMBER=1 -shared -fPIC -o lib/libnear.so near.c
cc -DNUMBER=2 -shared -fPIC -o "$D/other/libnear.so" near.c
cc -DNUMBER=3 -shared -fPIC -o "$D/old/lib/libnear.so" near.c
cc -shared -fPIC -Wl,-soname,libfar.so.1 -o lib/libfar.so.1 far.c -Llib -lnear -Wl,--enable-new-dtags,-rpath,'$ORIGIN'
ln -sf libfar.so.1 lib/libfar.so
cp lib/libfar.so.1 "$D/other/libfar.so.1"
cc -shared -fPIC -Wl,-soname,libfar.so.1 -o "$D/old/lib/libfar.so.1" far.c -Llib -lnear # no run path of its own
cc -o bin/prog prog.c -Llib -lfar -Wl,--enable-new-dtags,-rpath,'$ORIGIN/../lib' -Wl,-rpath-link,lib
cc -o bin/braces prog.c -Llib -lfar -Wl,--enable-new-dtags,-rpath,'/nowhere:${ORIGIN}/../lib' -Wl,-rpath-link,lib
cc -o bin/plain prog.c -Llib -lfar -Wl,-rpath-link,lib
cc -o bin/rpath prog.c -Llib -lfar -Wl,--disable-new-dtags,-rpath,'$ORIGIN/../../old/lib' -Wl,-rpath-link,lib
cc -o bin/lost prog.c -Llib -lfar -Wl,--enable-new-dtags,-rpath,'$ORIGIN/../none' -Wl,-rpath-link,lib
ln -sf prog bin/alias
ln -sf ../env/bin/prog "$D/other/alias"
printf '#!%s/env/bin/prog\n' "$D" >bin/script
chmod +x bin/script
say() { echo "-- $*"; }
unset LD_LIBRARY_PATH
say by its path; "$D/env/bin/prog"
say relative; bin/prog; cd bin; ./prog; cd ..
say by links; bin/alias | sed "s/comm .*/comm/"; "$D/other/alias" | sed "s/comm .*/comm/"
say by PATH; (PATH=$D/env/bin:$PATH; prog)
say script; bin/script | sed "s/comm .*/comm/"
say braces; bin/braces
say starts another; bin/prog start "$D/env/bin/prog"
say a name like a removed one; mkdir -p "d (deleted)/lib" "d (deleted)/bin"; cp lib/libnear.so lib/libfar.so.1 "d (deleted)/lib"; cp bin/prog "d (deleted)/bin"; "d (deleted)/bin/prog"
say although it may write small files only; (ulimit -S -f 1; bin/prog; ulimit -S -f)
say starts itself; bin/prog again; LD_LIBRARY_PATH=$D/env/lib bin/plain again
say from python; python3 -c 'import subprocess, sys; sys.exit(subprocess.call([sys.argv[1]]))' "$D/env/bin/prog"; echo $?
say the longest names; name=$(printf '%0255d' 0)
cp bin/prog "bin/$name"; "bin/$name" | sed "s/exe .*//"
cc -shared -fPIC -Wl,-soname,"$name" -o "lib/$name" far.c -Llib -lnear -Wl,--enable-new-dtags,-rpath,'$ORIGIN'
cc -o bin/long prog.c "lib/$name" -Wl,--enable-new-dtags,-rpath,'$ORIGIN/../lib' -Wl,-rpath-link,lib
bin/long | grep -c ": 10 exe"
say not found; bin/plain 2>/dev/null; echo $?; bin/lost 2>/dev/null; echo $?
say LD_LIBRARY_PATH; LD_LIBRARY_PATH=$D/env/lib bin/plain
say and it comes before the run path; LD_LIBRARY_PATH=$D/none:$D/other: bin/prog
say but not before an old run path; LD_LIBRARY_PATH=$D/other bin/rpath; bin/rpath
say relative and empty; cd lib; LD_LIBRARY_PATH=:/none ../bin/plain; LD_LIBRARY_PATH=. ../bin/plain; cd ..
say empty; LD_LIBRARY_PATH= bin/prog
mkdir "$T/here.$$"; cp lib/libnear.so "$T/here.$$/libc.so.6"; (cd "$T/here.$$"; LD_LIBRARY_PATH= "$D/env/bin/prog" 2>&1); rm -r "$T/here.$$"
say local program; cp bin/plain "$T/plain.$$"; LD_LIBRARY_PATH=$D/env/lib "$T/plain.$$" | sed "s,$T/plain.[0-9]*,PLAIN,g; s/comm .*/comm/"
printf '#!%s\n' "$T/plain.$$" >"$T/script.$$"; chmod +x "$T/script.$$"
LD_LIBRARY_PATH=$D/env/lib "$T/script.$$" | sed "s,$T/plain.[0-9]*,PLAIN,g; s/comm .*/comm/"
rm -f "$T/plain.$$" "$T/script.$$"
say static programs; cat >static.c <<'C'
#include <stdio.h>
#include <stdlib.h>
int main(void) { return printf("%s %d\n", getenv("LD_LIBRARY_PATH"), getenv("VOLNFS_NEEDED") != NULL) < 0; }
C
cc -static -o "$T/static.$$" static.c; LD_LIBRARY_PATH=$D/env/lib "$T/static.$$" 2>/dev/null
cc -static-pie -o "$T/static.$$" static.c; LD_LIBRARY_PATH=$D/env/lib "$T/static.$$" 2>/dev/null; rm -f "$T/static.$$"
say later, by LD_LIBRARY_PATH; cc -shared -fPIC -Wl,-soname,libplug.so -o other/libplug.so far.c -L"$D/env/lib" -lnear -Wl,--enable-new-dtags,-rpath,'$ORIGIN/../lib' 2>&1
cat >plug.py <<'P'
import ctypes, os, subprocess, sys
print(ctypes.CDLL("libplug.so").far_number(), os.environ["LD_LIBRARY_PATH"])
with open("/proc/self/environ", "rb") as f:
    print([v for v in f.read().split(b"\0") if b"/cwd/" in v or v.startswith(b"VOLNFS_NEEDED")])
if len(sys.argv) > 1:
    subprocess.run([sys.executable, sys.argv[0]])
P
LD_LIBRARY_PATH=/none:$D/env/other:$D/none /usr/bin/python3 plug.py again
LD_LIBRARY_PATH="$D/env/other/;$D/env/lib" /usr/bin/python3 plug.py again
say a start that fails; cc -o bin/noloader prog.c -Llib -lfar -Wl,-rpath,'$ORIGIN/../lib' -Wl,--dynamic-linker=/nowhere/ld.so
cat >fails.py <<'P'
import os, sys
try:
    os.execv(sys.argv[1], sys.argv[1:])
except OSError as e:
    print(e.strerror)
for fd in os.listdir("/proc/self/fd"):
    try:
        name = os.readlink("/proc/self/fd/" + fd)
    except OSError:
        continue
    if "noloader" in name or ".so" in name:
        print("left open:", name)
P
python3 fails.py "$D/env/bin/noloader"
say nothing stays; ls -d "${VOLNFS_RUN:-/nowhere}"/lib.* 2>/dev/null | wc -l
say links lead debuggers to the library; python3 - "$D/env/bin/prog" <<'P'
import ctypes, os, sys
# Stopped where it has been started, before the library is in it: its links, if any, are opened by this process.
libc = ctypes.CDLL(None, use_errno=True)
pid = os.fork()
if pid == 0:
    libc.ptrace(0, 0, None, None)
    os.execv(sys.argv[1], sys.argv[1:])
os.waitpid(pid, 0)
run, wrong = os.environ.get("VOLNFS_RUN", "/nowhere"), 0
for folder in os.listdir(run) if os.path.isdir(run) else []:
    if folder.startswith("lib.%d." % pid):
        for name in os.listdir(run + "/" + folder):
            with open(run + "/" + folder + "/" + name, "rb") as f:
                wrong += f.read(4) != b"\177ELF"
os.kill(pid, 9)
os.waitpid(pid, 0)
print("wrong:", wrong)
P
say not a library; mkdir bad; echo text >bad/libfar.so.1; LD_LIBRARY_PATH=bad bin/prog >/dev/null 2>&1; echo $?
head -c 700 lib/libfar.so.1 >bad/libfar.so.1; LD_LIBRARY_PATH=bad bin/prog >/dev/null 2>&1; echo $?
say no right to read; cp lib/libfar.so.1 bad; chmod 0 bad/libfar.so.1; LD_LIBRARY_PATH=bad bin/prog >/dev/null 2>&1; echo ran

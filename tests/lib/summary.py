#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sum up a `make check`: summary.py BUILD LOG STATUS

Reads the .trs files the test driver leaves in BUILD. Prints failed and skipped cases with their test, the end of the
log of each failed test, and as the last line "N passed, N failed, N skipped". A test that could not run or a make
that failed otherwise counts as failed; with CI=true a skipped kernel test does too. Exit status 0 only if nothing
failed and something passed.
"""
import os
import re
import sys


def main(build, make_log, make_status):
    passed = failed = skipped = 0
    trs = []
    for folder, _, files in os.walk(os.path.join(build, "tests")):
        trs += [os.path.join(folder, f) for f in files if f.endswith(".trs")]
    with open(make_log, errors="replace") as f:
        run = set(re.findall(r"^(?:PASS|FAIL|SKIP|XFAIL|XPASS|ERROR): (\S+?\.t)\b", f.read(), re.M))
    for path in sorted(trs):
        name = os.path.relpath(path, build)[:-4] + ".t"
        if name not in run:
            continue                      # left by an earlier run
        bad = False
        with open(path, errors="replace") as f:
            for line in f:
                m = re.match(r":test-result: (\w+) ?(.*)", line)
                if not m:
                    continue
                result, what = m.groups()
                if result in ("PASS", "XFAIL"):
                    passed += 1
                elif result == "SKIP" and not (os.environ.get("CI") == "true" and "kernel" in name):
                    skipped += 1
                    print("SKIP %s %s" % (name, what))
                else:
                    failed += 1
                    bad = True
                    print("%s %s %s" % (result if result != "SKIP" else "SKIPPED UNDER CI", name, what))
        if bad:
            with open(path[:-4] + ".log", errors="replace") as f:
                lines = f.read().splitlines()
            first = next((i for i, x in enumerate(lines) if x.startswith("not ok")), max(0, len(lines) - 40))
            print("".join("    | %s\n" % x for x in lines[first:first + 40]), end="")
    if make_status != 0 and failed == 0:
        failed = 1
        with open(make_log, errors="replace") as f:
            print("make check failed:\n" + "".join("    | " + x for x in f.readlines()[-30:]))
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))

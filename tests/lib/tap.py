# SPDX-License-Identifier: Apache-2.0
"""Cases of a system test that is a program in Python, as TAP on standard output; tap.sh is the shell's."""
import sys

cases = failures = 0


def case(name, good, why=""):
    """One case; why is told if it is not good."""
    global cases, failures
    cases += 1
    failures += not good
    print("%sok %d - %s" % ("" if good else "not ", cases, name), flush=True)
    if not good and why != "":
        print("# " + str(why).replace("\n", "\n# "), flush=True)


def skip(name, why):
    """A case that cannot be had here."""
    global cases
    cases += 1
    print("ok %d - %s # SKIP %s" % (cases, name, why), flush=True)


def done():
    """The plan, and the end of the program: status 1 after a failure."""
    print("1..%d" % cases)
    sys.exit(failures > 0)

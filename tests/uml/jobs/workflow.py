# SPDX-License-Identifier: Apache-2.0
"""The main job on a kernel mount: a dispatch, a server restart, a dispatch again. With two guests each is a worker."""
import json
import re
from guest import *

LABELS = ["alpha", "beta", "gamma"]
RUN = "python3 -B /job/workflow/workflow.py /volumes/mydata "
LINE = re.compile(r"\d\d:\d\d:\d\d - init new model")


def dispatch():
    """One dispatch over all guests: each label goes to one of them; the last step is every guest's."""
    mine = [label for i, label in enumerate(LABELS) if i % GUESTS == GUEST - 1]
    if GUESTS == 1:
        return json.loads(sh(RUN))
    sh("\n".join(RUN + "task init_labelled_model %s & p%d=$!" % (m, i) for i, m in enumerate(mine))
       + "\n" + "\n".join("wait $p%d" % i for i, _ in enumerate(mine)))
    ctl("barrier dispatched")
    return json.loads(sh(RUN + "task update_models " + " ".join(LABELS)))


def expect(lines):
    result = dispatch()
    if os.environ.get("SHOW"):
        if GUEST == 1:
            say(json.dumps(result, indent=1))
    assert sorted(result) == LABELS, result
    for label, log in result.items():
        assert len(log) == lines and all(LINE.fullmatch(x) for x in log), result


had = 0
for vers in VERS:
    attempt("vers=%s: mount of /alice/mydata at /volumes/mydata" % vers, mount, vers, "/alice/mydata",
            "/volumes/mydata")
    ctl("barrier mounted")
    had += 1
    attempt("vers=%s: a dispatch: %d line%s per label" % (vers, had, "s"[:had > 1]), expect, had)
    ctl("barrier first")
    if GUEST == 1:
        attempt("vers=%s: the server restarts" % vers, ctl, "restart")
    ctl("barrier restarted")
    had += 1
    attempt("vers=%s: a dispatch after the restart: %d lines per label" % (vers, had), expect, had)
    attempt("vers=%s: umount" % vers, umount, "/volumes/mydata")
    ctl("barrier umounted")
finish()

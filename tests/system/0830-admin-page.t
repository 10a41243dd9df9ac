#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--metrics: the page and the metrics over HTTP: what they refuse, what they say, and that a browser can show them.
A scripted load of known counts shows the same in volnfs status, volnfs top, the metrics and the page."""
import html.parser
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.environ.get("VOLNFS_SRC", "."), "tests", "lib"))
import nfswire as w
import servers
from tap import case, done, skip


def get(path, method="GET", headers=None, data=None):
    """(status, headers, body)"""
    req = urllib.request.Request(base + path, method=method, headers=headers or {}, data=data)
    try:
        with urllib.request.urlopen(req, timeout=60) as r:
            return r.status, r.headers, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read().decode()


class Nesting(html.parser.HTMLParser):
    """Whether tags close in the order they were opened; the text of the page, and of table rows by their first cell."""
    void = {"meta", "link", "br", "line", "path", "rect"}

    def __init__(self):
        super().__init__()
        self.stack, self.bad, self.words, self.rows, self.row = [], [], [], {}, None

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.row = []
        if tag in ("td", "th") and self.row is not None:
            self.row.append("")
        if tag not in self.void:
            self.stack.append(tag)
        for name, value in attrs:
            if name in ("src", "href") and ("//" in value or ":" in value):
                self.bad.append("loads %s" % value)
            if name.startswith("on") or name == "style":
                self.bad.append("has %s" % name)

    def handle_endtag(self, tag):
        if tag == "tr" and self.row:
            self.rows[self.row[0].strip()] = [c.strip() for c in self.row[1:]]
            self.row = None
        if tag not in self.void and (not self.stack or self.stack.pop() != tag):
            self.bad.append("</%s>" % tag)

    def handle_data(self, data):
        self.words.append(data.strip())
        if self.row:
            self.row[-1] += data


def parse_metrics(text):
    """{name{labels}: value}; raises when a line is none of the format (0.0.4)."""
    values, types, told = {}, {}, set()
    for line in text.splitlines():
        m = re.fullmatch(r"# (HELP|TYPE) ([a-z_][a-z0-9_]*) (.+)", line)
        if m:
            if (m[1], m[2]) in told:
                raise ValueError("told twice: " + line)
            told.add((m[1], m[2]))
            if m[1] == "TYPE":
                types[m[2]] = m[3]
            continue
        m = re.fullmatch(r'([a-z_][a-z0-9_]*)(\{(?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)+\})? ([-+0-9.eE]+|\+Inf|NaN)', line)
        if not m:
            raise ValueError("not a sample: " + line)
        family = m[1]
        if family not in types:
            family = re.sub("_(bucket|sum|count)$", "", family)
        if family not in types:
            raise ValueError("no TYPE before: " + line)
        if m[1] + (m[2] or "") in values:
            raise ValueError("twice: " + line)
        if types[family] == "counter" and not m[1].endswith("_total"):
            raise ValueError("a counter's name: " + line)
        values[m[1] + (m[2] or "")] = float(m[3])
    return values


def pages(server, base):
    status, head, page = get("/")
    case("the page is there", status == 200 and head["Content-Type"] == "text/html; charset=utf-8", head)
    case("and forbids scripts and what is elsewhere", "default-src 'none'" in head["Content-Security-Policy"] and
         "script-src" not in head["Content-Security-Policy"] and head["X-Content-Type-Options"] == "nosniff" and
         head["X-Frame-Options"] == "DENY" and head["Cache-Control"] == "no-store", head)
    doc = Nesting()
    doc.feed(page)
    case("it is well formed and loads nothing from elsewhere", not doc.bad and not doc.stack, doc.bad or doc.stack)
    case("a new store has no volumes, and it says how to make one", "volnfs create USER/VOLUME" in doc.words, doc.words)
    case("no plot has points yet" , page.count("the first point comes") + page.count("nothing in the last hour") == 3)
    status, head, text = get("/metrics")
    case("the metrics are there", status == 200 and head["Content-Type"].startswith("text/plain; version=0.0.4"), head)
    try:
        case("in the format of Prometheus", parse_metrics(text)["volnfs_starts_total"] == 1)
    except ValueError as e:
        case("in the format of Prometheus", False, e)
    case("the style sheet and the icon too", get("/style.css")[0] == 200 and get("/favicon.svg")[0] == 200)
    case("nothing else", get("/etc/passwd")[0] == 404 and get("/../state.db")[0] == 404 and get("//")[0] == 404)
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"):
        status, head, _ = get("/", method, data=b"x" * 100000 if method in ("POST", "PUT") else None)
        case("no %s" % method, status == 405 and head["Allow"] == "GET, HEAD", status)
    case("HEAD has no body", get("/metrics", "HEAD")[2] == "")
    case("a page of another name does not get at it", get("/", headers={"Host": "evil.example"})[0] == 403)
    case("but localhost does", get("/", headers={"Host": "localhost:1"})[0] == 200)


def http_limits(server, port):
    held = []
    for _ in range(200):
        s = socket.create_connection(("127.0.0.1", port), 5)
        s.settimeout(5)
        held.append(s)
    threads = len(os.listdir("/proc/%d/task" % server.pid))
    case("two hundred idle connections cost no threads", threads < 40, threads)
    for s in held:
        s.close()
    deadline = time.monotonic() + 60
    status = 0
    while status != 200 and time.monotonic() < deadline:
        try:
            status = get("/metrics")[0]
        except OSError:
            time.sleep(0.2)
    case("and the page comes back after them", status == 200)
    s = socket.create_connection(("127.0.0.1", port), 5)
    s.settimeout(5)
    s.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 200000)
    try:
        got = s.recv(100)
    except OSError:
        got = b""
    case("endless headers are refused", not got or got.startswith(b"HTTP/1.1 4"), got)
    s.close()
    case("the server is well", server.alive() and get("/")[0] == 200)


WRITES, READS, MISSES, LOCKS, SIZE = 400, 700, 300, 50, 8192


def load(server):
    """Known counts in alice/w."""
    c = w.Conn(("127.0.0.1", server.port))
    cl = w.Client40(c, b"counted")
    top = w.handle(c, b"alice", b"w")
    status, sid, fh = cl.open(top, b"f")
    if status:
        raise OSError("OPEN: %d" % status)
    for i in range(WRITES):
        r = c.compound(0, [w.putfh(fh), w.write(sid, i * SIZE, 0, bytes([i % 256]) * SIZE)])
        assert r.status == 0
    assert c.compound(0, [w.putfh(fh), w.commit(0, 0)]).status == 0
    for i in range(READS):
        r = c.compound(0, [w.putfh(fh), w.read(sid, i % WRITES * SIZE, SIZE)])
        assert r.status == 0
    for i in range(MISSES):
        assert c.compound(0, [w.putfh(top), w.lookup(b"nothing")]).status == 2
    s0, lsid = None, None
    for i in range(LOCKS):
        r = c.compound(0, [w.putfh(fh), w.lock_new(2, i * 10, 5, 3 + i, sid, 0, cl.id, b"locker%d" % i)])
        assert r.status == 0, r.status
    return c


def wait(what, seconds=60):
    """Until what() is true; its last value."""
    end = time.monotonic() + seconds
    got = what()
    while not got and time.monotonic() < end:
        time.sleep(0.05)
        got = what()
    return got


def near(got, want):
    return abs(got - want) <= want * 0.01


def number(text):
    """"8.31 k", "3.1M", "5.4 MiB" -> float"""
    m = re.fullmatch(r"([0-9.]+) ?([kKMGT]?)(i?B?)", text.strip())
    step = 1000 if m[2] == "k" or (" " in text and not m[3]) else 1024
    return float(m[1]) * step ** " KMGT".index(m[2].upper() or " ")


def agreement(server, c):
    want = {"WRITE": WRITES, "READ": READS, "LOOKUP": None, "LOCK": LOCKS, "COMMIT": 1}
    st = json.loads(server.volnfs("status", "-j"))
    vol = [v for v in st["volumes"] if v["name"] == "alice/w"][0]["traffic"]
    for name, count in want.items():
        if count:
            case("status: %d of %s" % (count, name), near(vol["by_op"][name]["count"], count), vol["by_op"])
    case("status: the lookups that failed", vol["by_op"]["LOOKUP"]["errors"] == MISSES and st["errors"]["NOENT"] == MISSES)
    case("status: bytes", vol["written_bytes"] == WRITES * SIZE and vol["read_bytes"] == READS * SIZE, vol)
    case("status: reads have a latency each", near(vol["latency"]["read"]["count"], READS), vol["latency"])
    case("status: writes too", near(vol["latency"]["write"]["count"], WRITES + 1), vol["latency"])
    case("status: one client with one open and its locks", st["clients"] == 1 and st["opens"] == 1 and st["locks"] == LOCKS,
         (st["clients"], st["opens"], st["locks"]))
    m = parse_metrics(get("/metrics")[2])
    label = '{volume="alice/w"'
    for name, count in want.items():
        if count:
            case("metrics: %s" % name, m['volnfs_volume_operations_total%s,op="%s"}' % (label, name)] == count ==
                 m['volnfs_operations_total{op="%s"}' % name])
    case("metrics: bytes", m["volnfs_volume_written_bytes_total%s}" % label] == WRITES * SIZE ==
         m["volnfs_written_bytes_total"] and m["volnfs_volume_read_bytes_total%s}" % label] == READS * SIZE)
    case("metrics: errors", m['volnfs_errors_total{status="NOENT"}'] == MISSES)
    case("metrics: latencies", m['volnfs_volume_request_duration_seconds_count%s,class="read"}' % label] == READS and
         m['volnfs_volume_request_duration_seconds_bucket%s,class="read",le="+Inf"}' % label] == READS)
    buckets = [(float(k.split('le="')[1].split('"')[0]), v) for k, v in m.items()
               if k.startswith('volnfs_request_duration_seconds_bucket{class="read"')]
    case("metrics: buckets grow", len(buckets) > 10 and
         [v for _, v in sorted(buckets)] == sorted(v for _, v in buckets))
    case("metrics: state", m["volnfs_opens"] == 1 and m["volnfs_locks"] == LOCKS and m["volnfs_clients"] == 1)
    # Everything but what came before the tree was entered is under the one grant that a new store has.
    grant = st["grants"][0]["traffic"]
    case("status: the grant's operations", near(grant["by_op"]["WRITE"]["count"], WRITES) and
         grant["read_bytes"] == READS * SIZE, (st["grants"][0]["subject"], grant["by_op"]))
    case("metrics: the grant's bytes", [v for k, v in m.items() if k.startswith("volnfs_grant_written_bytes_total{")]
         == [WRITES * SIZE] + [0] * (len(st["grants"]) - 1) or
         WRITES * SIZE in [v for k, v in m.items() if k.startswith("volnfs_grant_written_bytes_total{")])
    text = server.volnfs("top", "-n", "1")
    row = [l.split() for l in text.splitlines() if l.startswith("alice/w ")][0]
    case("top: operations", near(int(row[4]), vol["ops"]) and int(row[5]) == vol["errors"], row)
    case("top: bytes", abs(number(row[6]) - READS * SIZE) / (READS * SIZE) < 0.02 and
         abs(number(row[7]) - WRITES * SIZE) / (WRITES * SIZE) < 0.02, row)
    text = server.volnfs("status")
    row2 = [l.split() for l in text.splitlines() if l.startswith("alice/w ")][0]
    case("status as text is the same", row2[4:8] == row[4:8], (row, row2))
    doc = Nesting()
    doc.feed(get("/")[2])
    for name, count in want.items():
        if count:
            got = doc.rows.get(name)
            case("page: %s" % name, got and near(number(got[1]), count), got)
    case("page: errors", doc.rows.get("NOENT") and number(doc.rows["NOENT"][1]) == MISSES, doc.rows.get("NOENT"))

    def size():
        again = Nesting()
        again.feed(get("/")[2])
        return again.rows["alice/w"][1]

    # The figures of volumes follow what is done by up to a second.
    case("page: the volume's size", wait(lambda: near(number(size()), WRITES * SIZE)), size())
    case("page: the client", "counted" in doc.rows and doc.rows["counted"][0] == "127.0.0.1", doc.rows)


def users(server):
    """What alice's volumes are used for, with replies that a second client does not take."""
    def alice():
        st = json.loads(server.volnfs("status", "-j"))
        return [u for u in st["users"] if u["name"] == "alice"][0], st

    c = w.Conn(("127.0.0.1", server.port))
    fh = w.handle(c, b"alice", b"w", b"f")
    case("two connections", wait(lambda: alice()[0]["connections"] == 2), alice()[0])
    calls = [w.record(w.call_bytes(i, 0, [w.putfh(fh), w.read(w.ANON, 0, 1 << 20)])) for i in range(40)]
    c.send(b"".join(calls))

    def views():
        """Everything that tells of it, if it did not change meanwhile."""
        got, st = alice()
        if not got["requests"]:
            return None
        doc = Nesting()
        doc.feed(get("/")[2])
        row = [l.split() for l in server.volnfs("status").splitlines() if l.startswith("alice ")][0]
        all_ = got, st["user_limits"], parse_metrics(get("/metrics")[2]), row, doc.rows.get("alice")
        return all_ if alice()[0] == got else None

    got, limits, m, row, page = wait(views)
    # The reads reach to the file's end; what the sockets have taken is not waited for.
    case("replies that nobody takes", got["buffered"] >= got["requests"] * (1 << 20) // 2, got)
    case("opens and locks", (got["opens"], got["locks"], got["volumes"]) == (1, LOCKS, 1), got)
    mine = {k[len("volnfs_user_"):-len('{user="alice"}')]: v for k, v in m.items() if k.endswith('{user="alice"}')}
    case("metrics: the same", mine == {"connections": got["connections"], "requests": got["requests"],
                                       "buffered_bytes": got["buffered"], "opens": got["opens"], "locks": got["locks"]},
         (mine, got))
    case("metrics: limits", [m.get('volnfs_user_limit{of="%s"}' % k) for k in ("opens", "locks", "requests", "connections")]
         == [limits["opens"], limits["locks"], limits["requests"], None] and limits["connections"] == 0, limits)
    case("status as text: the same", row[1:4] == ["1", "2", str(got["requests"])] and
         abs(number(row[4]) - got["buffered"]) <= 0.06 * got["buffered"] and row[5:] == ["1", str(LOCKS), "0"], (row, got))
    case("page: the same", page and page[:3] == ["1", "2", str(got["requests"])] and
         near(number(page[3]), got["buffered"]) and page[4:] == ["1", str(LOCKS), "0"], (page, got))
    c.close()
    case("and all of it goes", wait(lambda: (alice()[0]["connections"], alice()[0]["requests"],
                                             alice()[0]["buffered"]) == (1, 0, 0)), alice()[0])


def manual():
    """The list in volnfsd(8) has each of them, and no others."""
    with open(os.path.join(os.environ.get("VOLNFS_SRC", "."), "man", "volnfsd.8")) as f:
        told = set(re.findall(r"\b(?:volnfs|process)_[a-z_]*[a-z]\b", f.read()))
    there = set(re.findall(r"^# TYPE (\S+)", get("/metrics")[2], re.M))
    case("metrics: the manual lists them", told == there, told ^ there)


def journal(server):
    def vol():
        return [v for v in json.loads(server.volnfs("status", "-j"))["volumes"] if v["name"] == "alice/w"][0]

    case("a journal that is applied has no age", wait(lambda: vol()["journal_ms"] == 0), vol())
    v, m = vol(), parse_metrics(get("/metrics")[2])
    case("its size and fill", 1 << 20 <= v["journal_size"] <= 64 << 20 and v["journal_used"] <= v["journal_size"], v)
    case("metrics: the same", m["volnfs_journal_size_bytes"] == v["journal_size"] and
         m['volnfs_volume_journal_used_bytes{volume="alice/w"}'] == v["journal_used"] == m["volnfs_journal_used_bytes"] and
         m["volnfs_journal_age_seconds"] == 0 == m["volnfs_gc_volumes"], v)


def browser(base, folder):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        skip("a browser shows it", "chromium is not installed")
        return
    for theme in ("light", "dark"):
        shot = os.path.join(folder, theme + ".png")
        args = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1300,1400",
                "--user-data-dir=" + os.path.join(folder, "chromium"), "--screenshot=" + shot, "--enable-logging=stderr"]
        if theme == "dark":
            args += ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]
        done = subprocess.run(args + [base + "/"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, timeout=300)
        size = os.path.getsize(shot) if os.path.exists(shot) else 0
        case("a browser shows it, %s" % theme, size > 20000, done.stderr[-1000:])
        case("and finds nothing to complain of", "Refused to" not in done.stderr and
             "CONSOLE" not in done.stderr, done.stderr[-1000:])
    if os.environ.get("VOLNFS_KEEP"):
        for theme in ("light", "dark"):
            shutil.copy(os.path.join(folder, theme + ".png"), os.environ["VOLNFS_KEEP"])


folder = tempfile.mkdtemp(prefix="volnfs-test.")
server = servers.Volnfsd(folder, args=["--metrics", "127.0.0.1:0"])
try:
    try:
        server.start()
    except servers.ServerError as e:
        if "built without libmicrohttpd" in str(e):
            print("1..0 # SKIP built without libmicrohttpd")
            sys.exit(0)
        raise
    port = int(re.search(r"status page on port (\d+)", server.log_text()).group(1))
    base = "http://127.0.0.1:%d" % port
    pages(server, base)
    http_limits(server, port)
    server.make_volume("alice/w")
    kept = load(server)
    agreement(server, kept)
    users(server)
    journal(server)
    manual()
    browser(base, folder)
    case("it stops", server.stop() == 0)
finally:
    server.kill9(start=False) if server.alive() else None
    shutil.rmtree(folder, ignore_errors=True)
done()

"""The Redis broker's own tests on Valkey: the conformance suite of both brokers, also as the users of docs/security.md, and all
that is about Redis alone. Valkey is the system's where there is one; else it is installed, and that one speaks no TLS."""

import re
import shutil
import subprocess

from lab.report import expect
from lab.tools import ROOT

TIMEOUT_S = 1800


def run(report, tools):
    server = shutil.which("valkey-server") or tools.valkey()
    version = re.search(r"v=(\S+)", tools.run(server, "--version"))[1]
    env = {**tools.env, "REDIS_SERVER": str(server)}
    command = ["cargo", "test", "--locked", "-p", "tidings-redis", "--tests", "--"]
    how = "over TLS as well"
    if not tools.speaks_tls(server):
        env["WITHOUT_TLS"] = "1"
        # What is about nothing else.
        command += ["--skip", "tls::"]
        how = "which speaks no TLS"
    with report.check(f"the broker's tests on Valkey {version}, {how}"):
        done = subprocess.run(command, cwd=ROOT, env=env, timeout=TIMEOUT_S, text=True, errors="replace",
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        expect(done.returncode == 0, done.stdout[-4000:])
        passed = sum(map(int, re.findall(r"(\d+) passed", done.stdout)))
        expect(passed > 200, f"only {passed} tests were run")

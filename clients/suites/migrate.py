"""docs/migrate.md is done as a reader would: every command in order, on a Redis of the suite's own, and what it prints compared
with the page. Services are started by the page's own commands and run until the next of the same name."""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time

from lab import readme
from lab.report import Failed, expect
from lab.stack import Process, free_port
from lab.tools import BINARIES, ROOT

SERVICES = ("tidings-publisher", "tidings-subscriber")
PATIENCE_S = 30


class Reader:
    def __init__(self, tools):
        self.folder = tempfile.mkdtemp(prefix="tidings-migrate-")
        self.ports = {port: free_port() for port in (3000, 3001, 6379)}
        self.env = {
            **tools.env,
            "PATH": os.pathsep.join([self.folder, tools.env["PATH"]]),
            "TIDINGS_PUBLISHER_LISTEN": f"127.0.0.1:{self.ports[3000]}",
            "TIDINGS_SUBSCRIBER_LISTEN": f"127.0.0.1:{self.ports[3001]}",
            "TIDINGS_PUBLISHER": f"http://127.0.0.1:{self.ports[3000]}",
            "TIDINGS_SUBSCRIBER": f"http://127.0.0.1:{self.ports[3001]}",
        }
        # The page's reader has a Redis at the usual port.
        client = shutil.which("redis-cli") or shutil.which("valkey-cli")
        expect(client, "neither redis-cli nor valkey-cli is on the PATH")
        self.write("redis-cli", f'#!/bin/sh\nexec {client} -p {self.ports[6379]} "$@"\n')
        # Its user has logins of its own: what the ACL does not allow is refused.
        self.services = {}
        self.redis = Process(self.folder, "redis", [tools.redis_server, "--port", self.ports[6379], "--bind", "127.0.0.1", "--dir",
                                                    self.folder, "--save", "", "--maxmemory-policy", "noeviction"], tools.env)
        self.redis.start()
        self.wait("redis-cli", "ping")

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o755)

    def wait(self, *command):
        deadline = time.monotonic() + PATIENCE_S
        while subprocess.run(command, env=self.env, cwd=self.folder, capture_output=True).returncode:
            expect(time.monotonic() < deadline, " ".join(command) + " does not succeed")
            time.sleep(0.1)

    def serve(self, text):
        text = text.replace("127.0.0.1:6379", f"127.0.0.1:{self.ports[6379]}")
        name, *arguments = shlex.split(text)
        if name in self.services:
            self.services[name].stop()
        self.services[name] = Process(self.folder, name, [BINARIES / name, *arguments], self.env)
        self.services[name].start()
        self.wait(name, "healthcheck")

    def type(self, block):
        """Runs a block. What it should print may take a moment to be there: then it is run again."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self.once(block)
            except Failed:
                if not block.output or time.monotonic() > deadline:
                    raise
            time.sleep(0.3)

    def once(self, block):
        """Runs a block. One that never ends is left as soon as it has printed what it should."""
        output = os.path.join(self.folder, "output")
        with open(output, "wb") as file:
            process = subprocess.Popen(["bash", "-euo", "pipefail", "-c", block.text], cwd=self.folder, env=self.env,
                                       stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        deadline = time.monotonic() + PATIENCE_S
        seen = ""
        try:
            while time.monotonic() < deadline:
                code = process.poll()
                with open(output, errors="replace") as file:
                    seen = file.read()
                if block.output and readme.same(block.output, seen):
                    return
                if code is not None:
                    break
                time.sleep(0.1)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if block.output:
            raise Failed(f"expected\n{block.output}\nbut it printed\n{seen}")
        # redis-cli answers an error with 0.
        expect(process.returncode == 0 and "ERR" not in seen and "NOPERM" not in seen, f"{process.returncode}\n{seen}")

    def stop(self):
        """Stops the services, as the page says; answers their exit codes."""
        codes = [service.stop() for service in self.services.values()]
        expect(not any(codes), codes)

    def leave(self):
        codes = [process.stop() for process in [*self.services.values(), self.redis]]
        shutil.rmtree(self.folder, ignore_errors=True)
        return codes


def run(report, tools):
    reader = Reader(tools)
    try:
        for block in readme.blocks(ROOT / "docs/migrate.md"):
            if block.language != "sh":
                continue
            first = block.text.strip().splitlines()[0]
            with report.check(f"line {block.line}: {first[:90]}"):
                if block.section == "Complete rollback":
                    reader.stop()
                if first.startswith(SERVICES):
                    reader.serve(first)
                else:
                    reader.type(block)
        with report.check("nothing is left"):
            left = subprocess.run(["redis-cli", "KEYS", "*"], env=reader.env, capture_output=True, text=True).stdout
            expect(not left.strip(), left)
    finally:
        codes = reader.leave()
    with report.check("the services stop as they should"):
        expect(codes == [0, 0, 0], codes)

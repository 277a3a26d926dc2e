"""docs/deployment.md is followed with nothing but its own commands: certificates, a policy, Redis, the services, and a client in
each language."""

import os
import shutil
import subprocess
import time

from lab import readme
from lab.report import expect
from lab.stack import free_port
from lab.terminal import Terminal
from lab.tools import HOME, ROOT

SERVERS = ("redis-server", "tidings-publisher", "tidings-subscriber")
PATIENCE_S = 30


class Operator(Terminal):
    """Someone who does what the page says."""

    def __init__(self, tools):
        folder = HOME / "deployment"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(ROOT / "proto", folder / "tidings/proto")
        env = {
            **tools.env,
            "npm_config_package_lock": "false",
            "npm_config_loglevel": "error",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        # Redis may be there under its other name.
        (folder / "bin").mkdir()
        (folder / "bin/redis-server").symlink_to(tools.redis_server)
        env["PATH"] = os.pathsep.join([str(folder / "bin"), env["PATH"]])
        super().__init__(folder, folder / "tidings", {port: free_port() for port in (3000, 3001, 6379)}, env)
        self.servers = []

    def serve(self, block):
        """Starts a command that goes on, and waits until it listens."""
        name = block.text.split()[0]
        output = self.folder / f"{name}.log"
        server = subprocess.Popen(self.shell(f"exec {block.text.strip()}"), env=self.env, stdin=subprocess.DEVNULL,
                                  stdout=open(output, "wb"), stderr=subprocess.STDOUT, start_new_session=True)
        self.servers.append(server)
        ready, deadline = "Ready to accept connections" if name == SERVERS[0] else "listens", time.monotonic() + PATIENCE_S
        while ready not in output.read_text(errors="replace"):
            expect(server.poll() is None and time.monotonic() < deadline, output.read_text(errors="replace")[-3000:])
            time.sleep(0.05)

    def leave(self):
        for server in reversed(self.servers):
            self.end(server)


def run(report, tools):
    operator = Operator(tools)
    try:
        for block in readme.blocks(ROOT / "docs/deployment.md"):
            first = block.text.strip().splitlines()[0]
            if block.file:
                operator.write(block)
            elif block.language == "sh":
                with report.check(f"line {block.line}: {first[:90]}"):
                    operator.serve(block) if first.split()[0] in SERVERS else operator.type(block)
    finally:
        operator.leave()

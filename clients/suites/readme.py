"""The README is run as a reader would: every command in order, and what it prints compared with what stands there.

The services are started by the README's own first command. Where its ports are taken, free ones stand in for them.
"""

import os
import re
import shutil
import signal
import subprocess
import time

from lab import readme
from lab.report import Failed, expect
from lab.stack import free_port, is_free
from lab.tools import BINARIES, HOME, ROOT

SERVE = "cargo run"
# Run by CI itself, which also runs this suite; and the section that it runs beside a Docker engine (clients/image.py).
BY_CI = "make test"
IN_CONTAINERS = ("In containers", "make test-image")
FLAG = re.compile(r"`(--[a-z-]+)")
PATIENCE_S = 30


class Reader:
    """Someone who types what the README says."""

    def __init__(self, tools):
        self.tools = tools
        self.ports = {port: port if is_free(port) else free_port() for port in (3000, 3001)}
        self.folder = HOME / "readme"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        # What the section on clients asks for: a folder of one's own with a copy of `proto`, and a Python environment.
        shutil.copytree(ROOT / "proto", self.folder / "proto")
        tools.run("python3", "-m", "venv", "venv", cwd=self.folder)
        self.env = {
            **tools.env,
            "PATH": os.pathsep.join([str(self.folder / "venv/bin"), str(HOME / "installed/bin"), tools.env["PATH"]]),
            "TIDINGS_PUBLISHER_LISTEN": f"127.0.0.1:{self.ports[3000]}",
            "TIDINGS_SUBSCRIBER_LISTEN": f"127.0.0.1:{self.ports[3001]}",
            # `tidings publish` and its like find the services as the README's reader would.
            "TIDINGS_PUBLISHER": f"http://127.0.0.1:{self.ports[3000]}",
            "TIDINGS_SUBSCRIBER": f"http://127.0.0.1:{self.ports[3001]}",
            # `cargo install` goes here, and need not optimise what is only tried out.
            "CARGO_INSTALL_ROOT": str(HOME / "installed"),
            "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0",
            "CARGO_PROFILE_RELEASE_LTO": "off",
            "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "256",
            "npm_config_package_lock": "false",
            "npm_config_loglevel": "error",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        }
        self.server = None

    def place(self, text):
        """The text with the ports that are really used."""
        for port, used in self.ports.items():
            text = re.sub(rf"\b{port}\b", str(used), text)
        return text

    def type(self, block, cwd):
        """Runs a block; a command that never ends is left as soon as it has printed what it should."""
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", self.place(block.text)], cwd=cwd, env=self.env, stdin=subprocess.DEVNULL,
            stdout=open(self.folder / "output", "wb"), stderr=subprocess.STDOUT, start_new_session=True)
        output, deadline = "", time.monotonic() + (PATIENCE_S if block.output else 1200)
        try:
            while True:
                code = process.poll()
                output = (self.folder / "output").read_text(errors="replace")
                if block.output and readme.same(self.place(block.output), output):
                    return
                if code is not None or time.monotonic() > deadline:
                    break
                time.sleep(0.1)
        finally:
            self.end(process)
        if block.output:
            raise Failed(f"expected\n{block.output}\nbut it printed\n{output}")
        expect(code == 0, f"exit code {code}\n{output[-3000:]}")

    def serve(self, block):
        self.server = subprocess.Popen(
            ["bash", "-c", f"exec {block.text.strip()}"], cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL,
            stdout=open(self.folder / "served", "wb"), stderr=subprocess.STDOUT, start_new_session=True)
        deadline = time.monotonic() + 600
        while True:
            health = subprocess.run([BINARIES / "tidings", "healthcheck"], env=self.env, capture_output=True,
                                    text=True)
            if health.returncode == 0:
                break
            # 2 is what a command line that is not understood ends with: waiting would not help.
            expect(self.server.poll() is None and health.returncode != 2 and time.monotonic() < deadline,
                   health.stderr + (self.folder / "served").read_text())
            time.sleep(0.3)
        printed = (self.folder / "served").read_text()
        expect("embedded" in printed and "grpcurl" in printed, printed)

    def leave(self):
        if self.server:
            self.end(self.server)

    @staticmethod
    def end(process):
        """Ends the whole group of a command, as Ctrl-C in its terminal would, and then for certain."""
        for number in (signal.SIGINT, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                break
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                continue
        process.wait()


def run(report, tools):
    found = readme.blocks(ROOT / "README.md")
    reader = Reader(tools)
    try:
        for block in found:
            first = block.text.strip().splitlines()[0]
            cwd = reader.folder if block.section.startswith("Clients") else ROOT
            if block.section == IN_CONTAINERS[0]:
                continue
            if block.file:
                (reader.folder / block.file).write_text(reader.place(block.text))
            elif block.language == "sh":
                with report.check(f"line {block.line}: {first[:90]}"):
                    if first == SERVE:
                        reader.serve(block)
                    elif first == BY_CI:
                        expect(BY_CI in (ROOT / ".ci/run").read_text(), "CI does not run it")
                    else:
                        reader.type(block, cwd)
    finally:
        reader.leave()
    with report.check("CI runs what is said about containers"):
        expect(IN_CONTAINERS[1] in (ROOT / ".ci/run").read_text(), "CI does not run it")
    flags(report, tools)


def flags(report, tools):
    """The table of flags names what the programs have, each with its variable, and nothing else."""
    source = (ROOT / "README.md").read_text()
    for binary, arguments in (("tidings-publisher", []), ("tidings-subscriber", []), ("tidings", ["serve"])):
        with report.check(f"the table of flags is that of {binary} --help"):
            text = tools.run(BINARIES / binary, *arguments, "--help")
            real = set(re.findall(r"^\s+(?:-\w, )?(--[a-z-]+)", text, re.MULTILINE)) - {"--help", "--version"}
            table = {flag for line in source.splitlines() if line.startswith("| `--") for flag in FLAG.findall(line)}
            missing = real - table
            expect(not missing, f"not in the README: {sorted(missing)}")
            if binary == "tidings":
                publisher, subscriber = (tools.run(BINARIES / f"tidings-{name}", "--help")
                                         for name in ("publisher", "subscriber"))
                gone = {flag for flag in table if flag not in text + publisher + subscriber}
                expect(not gone, f"only in the README: {sorted(gone)}")

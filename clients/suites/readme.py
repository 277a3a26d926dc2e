"""The README is run as a new user would: every command in order and nothing else, and what it prints compared with what is
there. Its clients are then followed through a frozen and a restarted server.

The services are started by the README's own first command, and its programs are those that it had installed. Where its ports are
taken, free ones replace them.
"""

import json
import os
import re
import shutil
import subprocess
import time

from lab import readme
from lab import stack as stacks
from lab import workers
from lab.follow import Follower, frozen, restarted, wide
from lab.report import expect
from lab.stack import free_port, is_free
from lab.terminal import Terminal
from lab.tools import BINARIES, HOME, ROOT

SERVE = "cargo run --locked"
# Run by CI itself, which also runs this suite; and the section that it runs beside a Docker engine (clients/image.py).
BY_CI = "make test"
IN_CONTAINERS = ("In containers", "make test-image")
# From here on the reader is beside the clone.
CLIENTS = "Clients in any language"
FLAG = re.compile(r"`(--[a-z-]+)")


class Reader(Terminal):
    """Someone who types what the README says."""

    def __init__(self, tools):
        ports = {port: port if is_free(port) else free_port() for port in (3000, 3001)}
        folder, installed = HOME / "readme", HOME / "installed"
        for old in (folder, installed):
            shutil.rmtree(old, ignore_errors=True)
        folder.mkdir(parents=True)
        path = [part for part in tools.env["PATH"].split(os.pathsep) if part != str(BINARIES)]
        env = {
            **tools.env,
            "PATH": os.pathsep.join([str(installed / "bin"), *path]),
            "TIDINGS_PUBLISHER_LISTEN": f"127.0.0.1:{ports[3000]}",
            "TIDINGS_SUBSCRIBER_LISTEN": f"127.0.0.1:{ports[3001]}",
            # `tidings publish` and its like find the services as the README's reader would.
            "TIDINGS_PUBLISHER": f"http://127.0.0.1:{ports[3000]}",
            "TIDINGS_SUBSCRIBER": f"http://127.0.0.1:{ports[3001]}",
            # `cargo install` goes here, and need not optimise what is only tried out.
            "CARGO_INSTALL_ROOT": str(installed),
            "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0",
            "CARGO_PROFILE_RELEASE_LTO": "off",
            "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "256",
            "npm_config_package_lock": "false",
            "npm_config_loglevel": "error",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        }
        super().__init__(folder, ROOT, ports, env)
        self.server = None

    def leave_clone(self):
        """From now on another folder replaces the reader's clone, beside which new ones may be made: it has what is copied there."""
        shutil.copytree(ROOT / "proto", self.folder / "tidings/proto")
        self.left.write_text(f"cd {self.folder / 'tidings'}\n")

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


def run(report, tools):
    found = readme.blocks(ROOT / "README.md")
    reader = Reader(tools)
    try:
        for block in found:
            first = block.text.strip().splitlines()[0]
            if block.section == IN_CONTAINERS[0]:
                continue
            if block.section == CLIENTS and not (reader.folder / "tidings").exists():
                reader.leave_clone()
            if block.file:
                reader.write(block)
            elif block.language == "sh":
                with report.check(f"line {block.line}: {first[:90]}"):
                    if first == SERVE:
                        reader.serve(block)
                    elif first == BY_CI:
                        expect(BY_CI in (ROOT / ".ci/run").read_text(), "CI does not run it")
                    else:
                        reader.type(block)
    finally:
        reader.leave()
    with report.check("CI runs what is said about containers"):
        expect(IN_CONTAINERS[1] in (ROOT / ".ci/run").read_text(), "CI does not run it")
    follow(report, tools, reader, {block.file: block.text for block in found if block.file})
    with report.check("the Rust that is named is the one that is needed"):
        rust(tools)
    flags(report, tools)


def follow(report, tools, reader, files):
    """The README's clients, unchanged but for what they follow, on a server that is frozen or restarted."""
    programs = {"quickstart.py": "python", "quickstart.mts": "npx tsx"}
    for kind, happens in ((stacks.on_redis, frozen), (stacks.embedded, restarted)):
        with kind(tools) as stack:
            report.begin(f"the README's clients, {stack.name}")
            clients = [Client(stack, reader, file, files[file], runs) for file, runs in programs.items()]
            followers = [follower for client in clients for follower in (client.of_channel(), client.of_pattern())]
            happens(report, tools, stack, followers)
            if stack.redis_url:
                for client in clients:
                    wide(report, tools, stack, client.file.split(".")[1], client.of_pattern)
                report.begin(f"the example workers, {stack.name}")
                workers.follow(report, stack, reader)


class Client:
    """One of the README's programs, with the addresses of a stack."""

    def __init__(self, stack, reader, file, text, runs):
        self.reader, self.file, self.runs = reader, file, runs
        self.text = text.replace("127.0.0.1:3000", stack.publisher).replace("127.0.0.1:3001", stack.subscriber)
        self.channel = re.search(r'channel"?: "(\w+)"', text)[1]

    def of_channel(self):
        return self._follower("channel", self.text)

    def of_pattern(self, pattern=None):
        """A follower of this pattern, or of the one that the program names."""
        pattern = pattern or f"{self.channel[:3]}*"
        text, count = re.subn(
            r'\{ ?"?channel"?: "\w+" ?\};?$', f'{{"pattern": "{pattern}"}}', self.text, flags=re.MULTILINE)
        expect(count == 1, f"{self.file} does not say once what it follows")
        return self._follower("pattern", text)

    def _follower(self, kind, text):
        name = f"{kind}-{self.file}"
        (self.reader.here() / name).write_text(text)
        command = self.reader.shell(f"exec {self.runs} {name}")
        return Follower(f"{self.file}, by {kind}", self.channel, command, ROOT, self.reader.env)


def rust(tools):
    """It is in Cargo.toml, and no crate of the lock file wants a newer one."""
    wanted = re.search(r"Rust (\d+\.\d+) or newer", (ROOT / "README.md").read_text())[1]
    packages = json.loads(tools.run("cargo", "metadata", "--locked", "--format-version", "1", merge=False))["packages"]
    version = {package["name"]: tuple(map(int, package["rust_version"].split("."))) for package in packages if package["rust_version"]}
    newest = max(version, key=version.get)
    expect(version["tidings"] == tuple(map(int, wanted.split("."))), f"Cargo.toml has {version['tidings']}, the README {wanted}")
    expect(version[newest][:2] <= version["tidings"], f"{newest} wants {version[newest]}")


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

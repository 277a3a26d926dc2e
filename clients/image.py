#!/usr/bin/env python3
"""The image and docker-compose.yml, really built and run: what the README says about containers, and what happens to them in
operation. `make test-image` runs this beside a Docker engine of its own; scripts/with-docker says what replaces what.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True

from lab import readme  # noqa: E402
from lab.report import Report, expect  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]
BINARIES = ROOT / "target" / "debug"
SECTION = "In containers"
SERVICES = ("redis", "publisher", "subscriber")
PATIENCE_S = 60
# The stop_grace_period of docker-compose.yml, and a second for the engine.
STOP_S = 16


class Machine:
    """A machine with Docker and a copy of the sources, as a new user has them."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder) / "tidings"
        listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                                capture_output=True, text=True, check=True).stdout
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.folder / name)
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("TIDINGS_")}
        self.env["PATH"] = f"{BINARIES}{os.pathsep}{self.env['PATH']}"

    def run(self, command, **env):
        """Runs a line of shell; answers its exit code and all that it printed."""
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=self.folder, env={**self.env, **env}, timeout=300,
                              text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout

    def must(self, command, **env):
        """The same for a line that must succeed; answers what it printed, without the blanks around it."""
        code, printed = self.run(command, **env)
        expect(code == 0, f"`{command}` ended with {code}:\n{printed[-4000:]}")
        return printed.strip()

    def until(self, command, holds, **env):
        """Repeats a line until what it printed is as it should be."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            code, printed = self.run(command, **env)
            if code == 0 and holds(printed):
                return printed
            expect(time.monotonic() < deadline, f"`{command}`: {printed[-4000:]}")
            time.sleep(0.1)

    def start(self, command, output):
        """Starts a line of shell that does not end by itself."""
        return subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL,
                                stdout=open(self.folder / output, "w"), stderr=subprocess.STDOUT)

    def containers(self):
        return self.must("docker compose ps --quiet").split()

    def container(self, service):
        """The one container of a service, of which there is one."""
        return self.must(f"docker compose ps --quiet {service}")

    def inspect(self, what, form):
        return self.must(f"docker inspect --format '{form}' {what}")


def publish(machine, text):
    """Publishes on `orders` as soon as that succeeds; answers the sequence."""
    printed = machine.until(f"tidings publish orders '{text}'", lambda printed: "sequence" in printed)
    return int(re.search(r"^sequence\s+(\d+)", printed, re.MULTILINE)[1])


def listed(machine, **env):
    """The texts on `orders`, as soon as they can be had."""
    printed = machine.until("tidings list orders --json", lambda printed: True, **env)
    return [json.loads(line)["text"] for line in printed.splitlines()]


def expect_closed(machine):
    """Only this machine reaches the ports."""
    opened = re.findall(r"\S+->", machine.must("docker ps --format '{{.Ports}}'"))
    expect(opened and all(port.startswith("127.0.0.1:") for port in opened), opened)


def image(report, machine, blocks):
    with report.check("the image is built as the README says"):
        machine.must(blocks["docker build"])
    with report.check("its labels say what it is"):
        cargo = (ROOT / "Cargo.toml").read_text()
        labels = json.loads(machine.inspect("tidings", "{{json .Config.Labels}}"))
        said = {key.removeprefix("org.opencontainers.image."): value for key, value in labels.items()}
        for key, name in (("version", "version"), ("licenses", "license")):
            wanted = re.search(rf'^{name} = "(.*)"$', cargo, re.MULTILINE)[1]
            expect(said.get(key) == wanted, f"{key}: {said.get(key)!r} is not {wanted!r}")
        expect(said["title"] == "tidings" and said["description"] and said["revision"], said)
    with report.check("it does not run as root, and has nothing but the binaries and their libraries"):
        expect(machine.inspect("tidings", "{{.Config.User}}") == "65532:65532", "another user")
        made = machine.must("docker create tidings")
        files = machine.must(f"docker export {made} | tar -t").split()
        machine.must(f"docker rm {made}")
        ours = [name for name in files if not name.endswith("/") and not name.startswith(("dev/", "etc/", "proc/", "sys/", ".dockerenv"))]
        strange = [name for name in ours if not re.fullmatch(r"usr/local/bin/tidings[a-z-]*|lib(64)?/.*\.so\.\d+", name)]
        expect(ours and not strange, ours)
    with report.check("it does not listen beyond its loopback without the flag for it, and says so"):
        code, printed = machine.run("timeout 20 docker run --rm tidings")
        expect(code not in (0, 125, 126, 127) and "allow-anonymous" in printed, f"{code}: {printed}")


def alone(report, machine, blocks):
    with report.check("`docker run` as the README has it is reached from this machine, and stops on a signal"):
        running = machine.start(blocks["docker run"], "running")
        try:
            machine.until("tidings healthcheck", lambda printed: True)
            expect(publish(machine, "embedded") == 1, "not the first")
            expect(listed(machine) == ["embedded"], "not listed")
            expect_closed(machine)
        finally:
            running.send_signal(signal.SIGINT)
            code = running.wait(STOP_S)
        expect(code == 0, (machine.folder / "running").read_text())


def together(report, machine, blocks):
    with report.check("compose wants a password for Redis, and says where"):
        code, printed = machine.run("docker compose config")
        expect(code != 0 and SECTION in printed, f"{code}: {printed}")
    with report.check("compose starts everything as the README says"):
        machine.must(blocks["umask"])
        expect((machine.folder / ".env").stat().st_mode & 0o777 == 0o600, "others can read the password")
        machine.must("tidings healthcheck")
        expect_closed(machine)
    with report.check("nothing of ours is pulled"):
        policies = re.findall(r"^ +(image|pull_policy): (\S+)$", machine.must("docker compose config"), re.MULTILINE)
        ours = policies.count(("image", "tidings"))
        expect(ours == policies.count(("pull_policy", "never")) and ours >= 2, policies)
    with report.check("Redis wants the password, and no command line has it"):
        password = (machine.folder / ".env").read_text().strip().partition("=")[2]
        address = machine.inspect(machine.container("redis"), "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
        with socket.create_connection((address, 6379), timeout=PATIENCE_S) as stranger:
            stranger.sendall(b"PING\r\n")
            expect(stranger.recv(100).startswith(b"-NOAUTH"), "it answers whom it does not know")
        containers = " ".join(machine.containers())
        lines = machine.inspect(containers, "{{.Path}} {{json .Args}}")
        expect("requirepass" in lines and len(password) == 48 and password not in lines, lines)
    with report.check("what was published is there after everything went and came back"):
        expect(publish(machine, "kept") == 1, "not the first")
        machine.must("docker compose down")
        expect(not machine.must("docker ps --quiet"), "something is left")
        machine.must("docker compose up --wait")
        expect(listed(machine) == ["kept"], "not listed")


def killed(report, machine):
    tail = machine.start("tidings tail orders --since 1h --json", "tailed")

    def tailed():
        lines = (machine.folder / "tailed").read_text().splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return [event["text"] for event in events if "text" in event]

    def reaches(wanted):
        deadline = time.monotonic() + PATIENCE_S
        while tailed() != wanted:
            expect(time.monotonic() < deadline, (machine.folder / "tailed").read_text())
            time.sleep(0.1)

    wanted = ["kept"]
    try:
        reaches(wanted)
        for service in SERVICES:
            with report.check(f"a {service} that is killed comes back by itself, and nothing is lost"):
                container = machine.container(service)
                os.kill(int(machine.inspect(container, "{{.State.Pid}}")), signal.SIGKILL)
                machine.until(f"docker inspect --format '{{{{.RestartCount}}}} {{{{.State.Running}}}}' {container}",
                              lambda printed: printed.split() == ["1", "true"])
                wanted.append(f"after the {service}")
                expect(publish(machine, wanted[-1]) == len(wanted), "another sequence")
                reaches(wanted)
                expect(listed(machine) == wanted, listed(machine))
    finally:
        tail.kill()
        tail.wait()


def scaled(report, machine, blocks):
    with report.check("three subscribers, started as the README says, have a port each"):
        machine.must(blocks["TIDINGS_SUBSCRIBER_PORTS"])
        for port in (3001, 3002, 3003):
            there = listed(machine, TIDINGS_SUBSCRIBER=f"http://127.0.0.1:{port}")
            expect(there and there[0] == "kept", f"{port}: {there}")
        expect_closed(machine)


def stopped(report, machine):
    containers = machine.containers()
    with report.check("what the services log is JSON"):
        for service in SERVICES[1:]:
            container = machine.must(f"docker compose ps --quiet {service}").split()[0]
            lines = machine.must(f"docker logs {container} 2>&1").splitlines()
            expect(lines and all(json.loads(line)["level"] for line in lines), lines[:3])
    with report.check("everything stops in time, and as it should"):
        begun = time.monotonic()
        machine.must("docker compose stop")
        took = time.monotonic() - begun
        codes = machine.inspect(" ".join(containers), "{{.State.ExitCode}}").split()
        expect(took < STOP_S and len(codes) == 5 and set(codes) == {"0"}, f"{codes} after {took:.1f} s")
    machine.must("docker compose down --volumes")


def main():
    report = Report()
    found = [block for block in readme.blocks(ROOT / "README.md") if block.section == SECTION and block.language == "sh"]
    wanted = ("docker build", "docker run", "umask", "TIDINGS_SUBSCRIBER_PORTS")
    blocks = {name: block.text.strip() for name, block in zip(wanted, found)}
    with tempfile.TemporaryDirectory(prefix="tidings-image-") as folder:
        report.begin("the image and docker-compose.yml")
        with report.check("the README's section on containers has the commands that are run here, in this order"):
            expect(len(found) == len(wanted) and all(name in blocks[name] for name in wanted), [block.text for block in found])
        machine = Machine(folder)
        image(report, machine, blocks)
        alone(report, machine, blocks)
        together(report, machine, blocks)
        killed(report, machine)
        scaled(report, machine, blocks)
        stopped(report, machine)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())

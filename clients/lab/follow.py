"""Programs that follow a channel or a pattern, print `#SEQUENCE …` or `received #SEQUENCE …` for each message, and
`resuming: WHY` when they call again: do they notice a server that is frozen, and do they resume where they were?"""

import contextlib
import os
import re
import signal
import subprocess
import time

from .report import expect
from .tools import BINARIES

PATIENCE_S = 40
# What the clients promise.
NOTICED_S = 15


class Follower:
    """A program that follows a channel from its oldest message on, by its name or through a pattern."""

    def __init__(self, name, channel, command, cwd, env):
        self.name, self.channel = name, channel
        self.command, self.cwd, self.env = [str(part) for part in command], cwd, env
        self.process, self.path = None, None

    def start(self, folder):
        self.path = f"{folder}/{re.sub(r'[^a-z.]+', '-', self.name)}.out"
        self.process = subprocess.Popen(
            self.command, cwd=self.cwd, env={**self.env, "PYTHONUNBUFFERED": "1"}, stdin=subprocess.DEVNULL,
            stdout=open(self.path, "w"), stderr=subprocess.STDOUT, start_new_session=True)

    def stop(self):
        if self.process and self.process.poll() is None:
            # Its group: a runner such as npx has children.
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def printed(self):
        return open(self.path, errors="replace").read()

    def received(self):
        return [int(found) for found in re.findall(r"^(?:received )?#(\d+)", self.printed(), re.MULTILINE)]

    def until(self, holds, patience_s=PATIENCE_S):
        deadline = time.monotonic() + patience_s
        while not holds():
            expect(self.process.poll() is None, f"it ended with {self.process.poll()}:\n{self.printed()[-3000:]}")
            expect(time.monotonic() < deadline, self.printed()[-3000:])
            time.sleep(0.05)


@contextlib.contextmanager
def started(stack, followers):
    try:
        for follower in followers:
            follower.start(stack.folder)
        yield
    finally:
        for follower in followers:
            follower.stop()


def publish(tools, stack, followers):
    """Publishes once on each of their channels; answers the sequences."""
    return {channel: publish_on(tools, stack, channel) for channel in sorted({follower.channel for follower in followers})}


def publish_on(tools, stack, channel):
    printed = tools.run(BINARIES / "tidings", "publish", channel, '{"total": 1.10}', "--json",
                        TIDINGS_PUBLISHER=f"http://{stack.publisher}")
    return int(re.search(r"^sequence\s+(\d+)$", printed, re.MULTILINE)[1])


def frozen(report, tools, stack, followers):
    """The subscriber is stopped as a debugger or a hypervisor would, and continues when all have noticed."""
    server = next(process for process in stack.processes if process.name in ("subscriber", "tidings")).process
    with started(stack, followers):
        for follower in followers:
            with report.check(f"{follower.name}: it is sent what there is"):
                # A quickstart publishes something itself; whichever comes last, all are sent everything.
                follower.until(follower.received if "quickstart" in follower.name else lambda: True)
        last = publish(tools, stack, followers)
        for follower in followers:
            with report.check(f"{follower.name}: it is sent what is published"):
                follower.until(lambda: follower.received() == list(range(1, last[follower.channel] + 1)))
        server.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            for follower in followers:
                with report.check(f"{follower.name}: it notices within {NOTICED_S} s that the server is frozen"):
                    follower.until(lambda: "resuming: " in follower.printed(), stopped + NOTICED_S - time.monotonic())
        finally:
            server.send_signal(signal.SIGCONT)
        last = publish(tools, stack, followers)
        for follower in followers:
            with report.check(f"{follower.name}: it resumes where it was"):
                follower.until(lambda: len(follower.received()) >= last[follower.channel])
                expect(follower.received() == list(range(1, last[follower.channel] + 1)), follower.printed())


def restarted(report, tools, stack, followers):
    """An embedded broker that is restarted has lost everything, and nobody knows how much that was."""
    with started(stack, followers):
        for follower in followers:
            with report.check(f"{follower.name}: it is sent what there is"):
                follower.until(follower.received if "quickstart" in follower.name else lambda: True)
        before = publish(tools, stack, followers)
        for follower in followers:
            with report.check(f"{follower.name}: it is sent what is published"):
                follower.until(lambda: follower.received() == list(range(1, before[follower.channel] + 1)))
        stack.restart()
        last = publish(tools, stack, followers)
        for follower in followers:
            with report.check(f"{follower.name}: after a restart it says from where on all was lost, and is sent the new"):
                wanted = [*range(1, before[follower.channel] + 1), *range(1, last[follower.channel] + 1)]
                follower.until(lambda: len(follower.received()) >= len(wanted))
                lost = re.findall(r"^lost from .*", follower.printed(), re.MULTILINE)
                expect(follower.received() == wanted, follower.printed())
                expect([line.split(" (")[0] for line in lost] == [f"lost from #{before[follower.channel] + 1} on"], follower.printed())

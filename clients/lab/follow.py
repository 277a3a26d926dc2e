"""Programs that follow a channel or a pattern, print `#SEQUENCE …` or `received #SEQUENCE …` for each message, and
`resuming: WHY` when they call again: do they notice a server that is frozen, and do they resume where they were?"""

import contextlib
import itertools
import json
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
# Channels that the cursor of a whole pattern stream names at most, and channels whose cursors may follow it.
NAMED_CHANNELS = 1_000
REFUSED = "can't be resumed, follow narrower patterns"
NUMBERS = itertools.count(1)


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

    def payloads(self):
        return [int(found) for found in re.findall(r"^(?:received )?#\d+ (\d+)$", self.printed(), re.MULTILINE)]

    def had(self, count):
        """Checks that it was sent so many messages, each once, and that it was told of no loss."""
        payloads = self.payloads()
        expect(len(payloads) == count == len(set(payloads)), f"{len(payloads)} messages, {len(set(payloads))} different, of {count}")
        expect("lost from" not in self.printed(), self.printed()[-3000:])

    def ends(self, count):
        """Waits until it has ended as a failure that says why, after so many messages."""
        code = self.process.wait(PATIENCE_S)
        expect(code != 0 and REFUSED in self.printed(), f"it ended with {code}:\n{self.printed()[-3000:]}")
        self.had(count)

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


def wide(report, tools, stack, word, program):
    """A pattern of more channels than the cursor of a whole stream names. `program` makes a follower of a pattern; the
    channels' names begin with a word that nothing else begins with.

    Where the stream has no such cursor it can't resume, and says so; where it has one from before there were as many, it does.
    """
    subscriber = next(process for process in stack.processes if process.name == "subscriber")
    many, grown = ([f"{word}-{kind}.{n}" for n in range(NAMED_CHANNELS + 1)] for kind in ("many", "grown"))
    publish_each(tools, stack, [*many, *grown[:-1]])
    follower = program(f"{word}-many.*")
    with started(stack, [follower]), away(stack, subscriber) as stop:
        with report.check(f"{follower.name} of 1,001 channels: it says that it can't be resumed, and ends"):
            follower.until(lambda: len(follower.payloads()) >= len(many))
            stop()
            follower.ends(len(many))
    follower = program(f"{word}-grown.*")
    with started(stack, [follower]):
        published = len(grown) - 1
        with report.check(f"{follower.name} that grows to 1,001 channels: it resumes where it was"):
            follower.until(lambda: len(follower.payloads()) >= published)
            # The last is on one that no cursor of the whole stream will name.
            publish_each(tools, stack, grown[-5:])
            follower.until(lambda: len(follower.payloads()) >= published + 5)
            with away(stack, subscriber) as stop:
                stop()
                publish_each(tools, stack, grown[-10:])
            published += 15
            follower.until(lambda: len(follower.payloads()) >= published)
            expect("resuming: " in follower.printed(), follower.printed()[-3000:])
            follower.had(published)
        with report.check(f"{follower.name}, when all 1,001 have had messages: it says that it can't be resumed, and ends"), \
                away(stack, subscriber) as stop:
            publish_each(tools, stack, grown)
            follower.until(lambda: len(follower.payloads()) >= published + len(grown))
            stop()
            follower.ends(published + len(grown))


@contextlib.contextmanager
def away(stack, service):
    """What this gives stops a service, which serves again afterwards."""
    try:
        yield service.stop
    finally:
        if service.process is None:
            service.start()
            stack.wait_until_serving()


def publish_each(tools, stack, channels):
    """Publishes a message on each channel: its payload is a number that no other has."""
    requests = [{"request": {"channel": channel, "json": str(next(NUMBERS))}} for channel in channels]
    answers = subprocess.run(
        [tools.bin / "grpcurl", *stack.grpcurl, "-d", "@", stack.publisher, "tidings.v1.PublisherService/PublishStream"],
        env=tools.env, input="\n".join(map(json.dumps, requests)), capture_output=True, text=True, timeout=PATIENCE_S)
    expect(answers.stdout.count('"response"') == len(channels), answers.stdout[-1000:] + answers.stderr)

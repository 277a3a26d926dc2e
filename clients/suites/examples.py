"""The Rust examples: a publisher that repeats safely, and a subscriber that resumes after everything was restarted."""

import signal
import subprocess
import time

from lab.follow import NOTICED_S, Follower, frozen, wide
from lab.report import expect
from lab.tools import BINARIES

PATIENCE_S = 20


def run(report, tools, stack):
    scheme = stack.scheme or "http://"
    env = {**tools.env, **stack.env, "TIDINGS_PUBLISHER": scheme + stack.publisher, "TIDINGS_SUBSCRIBER": scheme + stack.subscriber}

    def publish():
        return subprocess.run([BINARIES / "examples/publish"], env=env, capture_output=True, text=True, timeout=30)

    stdout, stderr = stack.folder + "/stdout", stack.folder + "/stderr"
    subscriber = subprocess.Popen([BINARIES / "examples/subscribe"], env=env, stdin=subprocess.DEVNULL,
                                  stdout=open(stdout, "w"), stderr=open(stderr, "w"))
    try:
        with report.check("the publisher's messages reach the subscriber"):
            done = publish()
            expect(done.returncode == 0 and len(done.stdout.splitlines()) == 3, done.stderr)
            until(stdout, stderr, range(1, 4))
        if stack.scheme:
            return
        with report.check("the subscriber resumes where it was after Redis and both services were restarted"):
            stack.restart()
            expect(publish().returncode == 0, "could not publish")
            until(stdout, stderr, range(1, 7))
    finally:
        subscriber.kill()
        subscriber.wait()
    with report.check("the publisher notices within 15 s that the server is frozen, and publishes each message once"):
        frozen_publisher(stack, env)

    def follower(kind, topic):
        return Follower(f"subscribe.rs, by {kind}", "rust-followed", [BINARIES / "examples/subscribe", topic], None, env)

    frozen(report, tools, stack, [follower("channel", "rust-followed"), follower("pattern", "rust-f*")])
    wide(report, tools, stack, "rust", lambda pattern: follower("pattern", pattern))


def frozen_publisher(stack, env):
    server = next(process for process in stack.processes if process.name == "publisher").process
    server.send_signal(signal.SIGSTOP)
    stderr = stack.folder + "/published"
    example = subprocess.Popen([BINARIES / "examples/publish"], env=env, stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE,
                               stderr=open(stderr, "w"))
    try:
        deadline = time.monotonic() + NOTICED_S
        while "trying again" not in open(stderr).read():
            expect(example.poll() is None and time.monotonic() < deadline, open(stderr).read())
            time.sleep(0.05)
    finally:
        server.send_signal(signal.SIGCONT)
        printed, _ = example.communicate(timeout=PATIENCE_S)
    found = [line.split()[0] for line in printed.splitlines()]
    expect(example.returncode == 0 and found == ["#7", "#8", "#9"], f"{printed}\n{open(stderr).read()}")


def until(stdout, stderr, sequences):
    """Waits until exactly these were received, each once and in order."""
    wanted, deadline = [f"#{n}" for n in sequences], time.monotonic() + PATIENCE_S
    while True:
        lines = open(stdout).read().splitlines()
        if [line.split()[0] for line in lines] == wanted:
            return
        expect(time.monotonic() < deadline, f"{lines}\n{open(stderr).read()}")
        time.sleep(0.1)

"""The Rust examples: a publisher that repeats safely, and a subscriber that goes on after everything was restarted."""

import signal
import subprocess
import time

from lab.follow import NOTICED_S, Follower, frozen
from lab.report import expect
from lab.tools import BINARIES

PATIENCE_S = 20


def run(report, tools, stack):
    env = {**tools.env, "TIDINGS_PUBLISHER": f"http://{stack.publisher}", "TIDINGS_SUBSCRIBER": f"http://{stack.subscriber}"}

    def publish():
        return subprocess.run([BINARIES / "examples/publish"], env=env, capture_output=True, text=True, timeout=30)

    heard, told = stack.folder + "/heard", stack.folder + "/told"
    subscriber = subprocess.Popen([BINARIES / "examples/subscribe"], env=env, stdin=subprocess.DEVNULL,
                                  stdout=open(heard, "w"), stderr=open(told, "w"))
    try:
        with report.check("the publisher's messages reach the subscriber"):
            done = publish()
            expect(done.returncode == 0 and len(done.stdout.splitlines()) == 3, done.stderr)
            until(heard, told, range(1, 4))
        with report.check("the subscriber resumes where it was after Redis and both services were restarted"):
            stack.restart()
            expect(publish().returncode == 0, "could not publish")
            until(heard, told, range(1, 7))
    finally:
        subscriber.kill()
        subscriber.wait()
    with report.check("the publisher notices within 15 s that the server is frozen, and publishes each message once"):
        frozen_publisher(stack, env)
    followers = [Follower(f"subscribe.rs, by {kind}", "rust-followed", [BINARIES / "examples/subscribe", topic], None, env)
                 for kind, topic in (("channel", "rust-followed"), ("pattern", "rust-f*"))]
    frozen(report, tools, stack, followers)


def frozen_publisher(stack, env):
    server = next(process for process in stack.processes if process.name == "publisher").process
    server.send_signal(signal.SIGSTOP)
    told = stack.folder + "/published"
    example = subprocess.Popen([BINARIES / "examples/publish"], env=env, stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE,
                               stderr=open(told, "w"))
    try:
        deadline = time.monotonic() + NOTICED_S
        while "trying again" not in open(told).read():
            expect(example.poll() is None and time.monotonic() < deadline, open(told).read())
            time.sleep(0.05)
    finally:
        server.send_signal(signal.SIGCONT)
        printed, _ = example.communicate(timeout=PATIENCE_S)
    found = [line.split()[0] for line in printed.splitlines()]
    expect(example.returncode == 0 and found == ["#7", "#8", "#9"], f"{printed}\n{open(told).read()}")


def until(heard, told, sequences):
    """Waits until exactly these were heard, each once and in order."""
    wanted, deadline = [f"#{n}" for n in sequences], time.monotonic() + PATIENCE_S
    while True:
        lines = open(heard).read().splitlines()
        if [line.split()[0] for line in lines] == wanted:
            return
        expect(time.monotonic() < deadline, f"{lines}\n{open(told).read()}")
        time.sleep(0.1)

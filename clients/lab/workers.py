"""The example workers, unchanged but for a job that takes long under a short lease: do they do each job, put aside what no attempt will
do, extend the lease of a long one, survive a restart of everything, and finish what runs when they are told to stop?"""

import contextlib
import json
import os
import signal
import subprocess
import time

from .report import expect
from .tools import BINARIES, ROOT

PATIENCE_S = 30
# Three leases of the shortened ones.
SLOW_S = 6
LEASE = (("LEASE_S = 30", "LEASE_S = 2"),)
PYTHON = ("python/worker.py", "python", "",
          (('    say(f"done', f'    time.sleep({SLOW_S} if message.text == "slow" else 0)\n    say(f"done'),))
TYPESCRIPT = ("typescript/worker.mts", "node --import tsx", "http://",
              (("  console.log(`done", f'  if (payload.value === "slow") await sleep({SLOW_S * 1000});\n  console.log(`done'),))


class Worker:
    """A worker's process, on a subscription of its own."""

    def __init__(self, stack, reader, example):
        path, runs, scheme, changes = example
        self.name, self.stack = path.split("/")[1], stack
        self.subscription = "jobs." + self.name.split(".")[1]
        text = (ROOT / "examples" / path).read_text()
        for old, new in (*LEASE, *changes):
            expect(text.count(old) == 1, f"{path} has not one {old!r}")
            text = text.replace(old, new)
        (reader.here() / self.name).write_text(text)
        # In the line itself: the reader's shell brings variables of its own.
        environment = f"TIDINGS_SUBSCRIBER={scheme}{stack.subscriber} PYTHONUNBUFFERED=1"
        self.command = reader.shell(f"exec env {environment} {runs} {self.name} {self.subscription}")
        self.env = reader.env
        self.path, self.process = f"{stack.folder}/{self.name}.out", None
        self.tidings("subscription", "create", self.subscription, "--channel", self.subscription, "--max-attempts", "3")

    def tidings(self, *arguments):
        env = {**os.environ, "TIDINGS_PUBLISHER": f"http://{self.stack.publisher}", "TIDINGS_SUBSCRIBER": f"http://{self.stack.subscriber}"}
        done = subprocess.run([BINARIES / "tidings", *arguments], env=env, capture_output=True, text=True, timeout=30)
        expect(done.returncode == 0, f"tidings {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def publish(self, *texts):
        for text in texts:
            self.tidings("publish", self.subscription, text, *(["--json"] if text.startswith("[") else []))

    def state(self):
        return json.loads(self.tidings("subscription", "show", self.subscription, "--json"))["state"]

    def start(self):
        self.process = subprocess.Popen(self.command, cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL, stdout=open(self.path, "a"),
                                        stderr=subprocess.STDOUT, start_new_session=True)

    def printed(self):
        return open(self.path, errors="replace").read()

    def done(self):
        """What it says that it has done, in the order of the messages."""
        lines = (line.split(" ", 2) for line in self.printed().splitlines() if line.startswith("done #"))
        return sorted((int(number[1:]), text) for _, number, text in lines)

    def comes_to(self, what, condition):
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            expect(time.monotonic() < deadline and self.process.poll() is None, f"{what}: {self.state()}\n{self.printed()}")
            time.sleep(0.1)

    def settles(self, *texts):
        """All of these are done, each once, and nothing is left."""
        wanted = [text for text in texts]
        self.comes_to(f"not {wanted}", lambda: [text for _, text in self.done()] == wanted)
        self.comes_to("not settled", lambda: self.state()["backlog_count"] == 0)

    def kill(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def follow(report, stack, reader):
    """Both of them, on a stack that may be restarted."""
    for example in (PYTHON, TYPESCRIPT):
        worker = Worker(stack, reader, example)
        with contextlib.ExitStack() as ends:
            ends.callback(worker.kill)
            check(report, worker)


def check(report, worker):
    with report.check(f"{worker.name} does each job once, and puts aside what no attempt will do"):
        worker.start()
        worker.publish("one", "two", "[1]", "three")
        worker.settles("one", "two", "three")
        dead = json.loads(worker.tidings("subscription", "dead", worker.subscription, "--json").splitlines()[0])
        expect(dead["delivery_attempts"] == 1 and "no object" in dead["reason"], f"{dead}")
    with report.check(f"{worker.name} extends the lease of a job that takes longer"):
        worker.publish("slow")
        worker.settles("one", "two", "three", "slow")
        expect("too late" not in worker.printed(), worker.printed())
    with report.check(f"{worker.name} goes on after Redis and both services were restarted"):
        worker.stack.restart()
        worker.publish("four")
        worker.settles("one", "two", "three", "slow", "four")
    with report.check(f"{worker.name} finishes what runs when it is told to stop, and takes nothing more"):
        worker.publish("slow")
        worker.comes_to("nothing is out", lambda: worker.state()["outstanding_count"] == 1)
        worker.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        worker.publish("five")
        code = worker.process.wait(PATIENCE_S)
        texts = [text for _, text in worker.done()]
        expect(code == 0 and texts == ["one", "two", "three", "slow", "four", "slow"], f"{code}: {worker.printed()}")
        expect(worker.state()["backlog_count"] == 1, f"{worker.state()}")

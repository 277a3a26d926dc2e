"""Counts checks and prints each as it happens. A check that fails does not stop the ones after it."""

import contextlib
import subprocess
import traceback


class Failed(Exception):
    """A check did not hold; its text says what was seen."""


def expect(condition, seen):
    """Fails the running check, showing what was seen, unless the condition holds."""
    if not condition:
        raise Failed(str(seen))


class Report:
    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.suite = ""

    def begin(self, suite):
        self.suite = suite
        print(f"\n{suite}", flush=True)

    def count(self, name, problem=None):
        if problem is None:
            self.passed += 1
            print(f"  ok      {name}", flush=True)
        else:
            self.failed += 1
            print(f"  FAILED  {name} [{self.suite}]\n    " + problem.strip().replace("\n", "\n    "), flush=True)

    @contextlib.contextmanager
    def check(self, name):
        try:
            yield
        except Failed as failure:
            self.count(name, str(failure))
        except Exception:
            self.count(name, traceback.format_exc())
        else:
            self.count(name)

    def program(self, name, command, timeout_s=120, **options):
        """Runs a test program that prints a line `ok: NAME` or `FAILED: NAME: WHY` for each of its checks.

        One that ends badly, or without a single line of the kind, counts as a failed check itself.
        """
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="replace", timeout=timeout_s, **options)
            output, code = done.stdout, done.returncode
        except subprocess.TimeoutExpired as expired:
            output, code = (expired.stdout or b"").decode(errors="replace"), f"none after {timeout_s} s"
        seen = failures = 0
        for line in output.splitlines():
            if line.startswith("ok: "):
                seen += 1
                self.count(line[4:])
            elif line.startswith("FAILED: "):
                failures += 1
                check, _, why = line[8:].partition(": ")
                self.count(check, why)
        if code != (1 if failures else 0) or not seen + failures:
            self.count(name, f"exit code {code} after {seen} checks\n{output[-4000:]}")

    def close(self):
        print(f"\n{self.passed} passed, {self.failed} failed", flush=True)
        return 0 if self.passed and not self.failed else 1

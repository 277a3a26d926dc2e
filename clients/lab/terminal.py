"""A terminal in which the commands of a page are typed, one block after another."""

import os
import pathlib
import re
import shlex
import signal
import subprocess
import time

from . import readme
from .report import Failed, expect

PATIENCE_S = 30


class Terminal:
    """`ports` are those in the page, each with the one that is really used."""

    def __init__(self, folder, start, ports, env):
        self.folder, self.ports, self.env = folder, ports, env
        # What one block leaves (folder, variables) the next one finds.
        self.left = folder / "left"
        self.left.write_text(f"cd {start}\n")

    def localized(self, text):
        """The text with the ports that are really used."""
        for port, used in self.ports.items():
            text = re.sub(rf"\b{port}\b", str(used), text)
        return text

    def here(self):
        """The folder in which the reader is now."""
        return pathlib.Path(re.search(r"^cd (.*)$", self.left.read_text(), re.MULTILINE)[1])

    def shell(self, text):
        """A line for bash that runs a text where the block before it ended, and leaves what the next one finds."""
        leave = f"{{ echo \"cd $PWD\"; export -p; }} >{self.left}.new && mv {self.left}.new {self.left}"
        return ["bash", "-euo", "pipefail", "-c", f". {self.left}\ntrap {shlex.quote(leave)} EXIT\n{self.localized(text)}"]

    def type(self, block):
        """Runs a block; a command that never ends is left as soon as it has printed what it should."""
        process = subprocess.Popen(
            self.shell(block.text), env=self.env, stdin=subprocess.DEVNULL,
            stdout=open(self.folder / "output", "wb"), stderr=subprocess.STDOUT, start_new_session=True)
        output, deadline = "", time.monotonic() + (PATIENCE_S if block.output else 1200)
        try:
            while True:
                code = process.poll()
                output = (self.folder / "output").read_text(errors="replace")
                if block.output and readme.same(self.localized(block.output), output):
                    return
                if code is not None or time.monotonic() > deadline:
                    break
                time.sleep(0.1)
        finally:
            self.end(process)
        if block.output:
            raise Failed(f"expected\n{block.output}\nbut it printed\n{output}")
        expect(code == 0, f"exit code {code}\n{output[-3000:]}")

    def write(self, block):
        """Makes a file of a block."""
        path = self.here() / block.file
        path.write_text(self.localized(block.text))

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

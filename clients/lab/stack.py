"""Starts and stops what is driven: Redis with the two services, or both services in one process without Redis."""

import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from .tools import BINARIES

PATIENCE_S = 20


def free_port():
    """A free loopback port, below those of outgoing connections: one of those could take it before its server does."""
    return next(port for port in random.sample(range(10_000, 32_000), 22_000) if is_free(port))


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Process:
    """A program that serves until it gets a signal to stop."""

    def __init__(self, folder, name, command, env):
        self.name, self.command, self.env = name, [str(part) for part in command], env
        self.log = pathlib.Path(folder) / f"{name}.log"
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def stop(self):
        """Asks it to stop; returns its exit code. One that does not listen is killed, and that is an error."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"{self.name} did not stop within {PATIENCE_S} s of SIGTERM") from None
        finally:
            self.process = None

    def tail(self, lines=30):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


class Stack:
    """Services on free ports, with addresses to call them at. A context manager: leaving it stops them."""

    def __init__(self, tools, name):
        self.tools, self.name = tools, name
        self.folder = tempfile.mkdtemp(prefix="tidings-clients-")
        self.publisher = f"127.0.0.1:{free_port()}"
        self.subscriber = f"127.0.0.1:{free_port()}"
        self.redis_url = None
        # With TLS: how addresses begin, what clients find in their environment, and what grpcurl is told.
        self.scheme, self.env, self.grpcurl = "", {}, ["-plaintext"]
        self.processes = []

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        for process in self.processes:
            process.start()
        self.wait_until_serving()

    def stop(self):
        """Stops everything, last started first; returns the exit codes."""
        return [process.stop() for process in reversed(self.processes)]

    def restart(self):
        codes = self.stop()
        self.start()
        return codes

    def wait_until_serving(self):
        for address in (self.publisher, self.subscriber):
            deadline = time.monotonic() + PATIENCE_S
            while True:
                answer = subprocess.run(
                    [self.tools.bin / "grpcurl", *self.grpcurl, "-max-time", "3", address, "grpc.health.v1.Health/Check"],
                    env=self.tools.env, capture_output=True, text=True)
                if '"SERVING"' in answer.stdout:
                    break
                if time.monotonic() > deadline:
                    logs = "\n".join(f"--- {p.name}\n{p.tail()}" for p in self.processes)
                    raise RuntimeError(f"{address} is not serving: {answer.stderr}\n{logs}")
                time.sleep(0.1)

    def to(self, address):
        """An address as clients write it."""
        return self.scheme + address

    def add(self, name, *command):
        self.processes.append(Process(self.folder, name, command, self.tools.env))


def on_redis(tools):
    """Redis, the publisher and the subscriber: three processes, as in production."""
    stack = Stack(tools, "on Redis")
    port = free_port()
    stack.redis_url = f"redis://127.0.0.1:{port}"
    stack.add("redis", tools.redis_server, "--port", port, "--bind", "127.0.0.1", "--dir", stack.folder,
              "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction")
    stack.add("publisher", BINARIES / "tidings-publisher", "--listen", stack.publisher, "--redis-url", stack.redis_url)
    stack.add("subscriber", BINARIES / "tidings-subscriber", "--listen", stack.subscriber,
              "--redis-url", stack.redis_url)
    return stack


def embedded(tools):
    """`tidings serve`: both services in one process, messages in its memory."""
    stack = Stack(tools, "embedded")
    stack.add("tidings", BINARIES / "tidings", "serve", "--publisher-listen", stack.publisher,
              "--subscriber-listen", stack.subscriber)
    return stack


def over_tls(tools):
    """`tidings serve` with a certificate, for clients that have one too."""
    stack = Stack(tools, "over TLS, with client certificates")
    path = {name: f"{stack.folder}/{name}" for name in ("ca.pem", "ca.key", "csr", "extensions", "serial")}
    tools.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=authority", "-keyout", path["ca.key"],
              "-out", path["ca.pem"])
    for name, extensions in (("server", "subjectAltName=DNS:localhost,IP:127.0.0.1"), ("client", "subjectAltName=DNS:shop.example")):
        pathlib.Path(path["extensions"]).write_text(extensions + "\n")
        tools.run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{stack.folder}/{name}.key",
                  "-out", path["csr"])
        tools.run("openssl", "x509", "-req", "-in", path["csr"], "-CA", path["ca.pem"], "-CAkey", path["ca.key"], "-CAcreateserial",
                  "-CAserial", path["serial"], "-extfile", path["extensions"], "-out", f"{stack.folder}/{name}.pem")
    cert, key = f"{stack.folder}/client.pem", f"{stack.folder}/client.key"
    stack.scheme = "https://"
    stack.env = {"TIDINGS_CA": path["ca.pem"], "TIDINGS_CERT": cert, "TIDINGS_KEY": key}
    stack.grpcurl = ["-cacert", path["ca.pem"], "-cert", cert, "-key", key]
    stack.add("tidings", BINARIES / "tidings", "serve", "--publisher-listen", stack.publisher, "--subscriber-listen", stack.subscriber,
              "--tls-cert", f"{stack.folder}/server.pem", "--tls-key", f"{stack.folder}/server.key", "--tls-client-ca", path["ca.pem"])
    return stack

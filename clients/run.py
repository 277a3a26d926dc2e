#!/usr/bin/env python3
"""Drives the built binaries from outside, as their users do. `make test-clients` runs it.

Usage: clients/run.py [SUITE ...]   (all suites when none is named)
"""

import sys

sys.dont_write_bytecode = True

from lab import stack as stacks  # noqa: E402
from lab.report import Report  # noqa: E402
from lab.tools import Tools  # noqa: E402
from suites import deployment, examples, go, grpcurl, migrate, plain_redis, python, readme, typescript, valkey  # noqa: E402

# Each suite with the stacks it runs on; the README, the pages of docs and the broker's tests start their own.
SUITES = {
    "grpcurl": (grpcurl, (stacks.on_redis, stacks.embedded)),
    "plain_redis": (plain_redis, (stacks.on_redis,)),
    "python": (python, (stacks.on_redis, stacks.embedded, stacks.over_tls)),
    "typescript": (typescript, (stacks.on_redis, stacks.embedded, stacks.over_tls)),
    "go": (go, (stacks.on_redis, stacks.embedded, stacks.over_tls)),
    "examples": (examples, (stacks.on_redis, stacks.over_tls)),
    "readme": (readme, (None,)),
    "migrate": (migrate, (None,)),
    "deployment": (deployment, (None,)),
    "valkey": (valkey, (None,)),
}


def main(names):
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        sys.exit(f"no such suite: {', '.join(unknown)}; there are {', '.join(SUITES)}")
    tools, report = Tools(), Report()
    tools.build()
    tools.install_go_tools()
    for name in names or SUITES:
        suite, kinds = SUITES[name]
        for kind in kinds:
            if kind is None:
                report.begin(name)
                suite.run(report, tools)
                continue
            with kind(tools) as stack:
                report.begin(f"{name}, {stack.name}")
                suite.run(report, tools, stack)
    return report.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

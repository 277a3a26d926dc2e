"""The suites: each has `run(report, tools, stack)` and drives a running stack from outside."""

"""What the suites share: tools, running services, counting checks, reading the README."""

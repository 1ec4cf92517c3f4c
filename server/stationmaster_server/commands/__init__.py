"""The commands for people, one file each: `add(subparsers)` declares it, `run(arguments)` does it and returns
the exit code."""

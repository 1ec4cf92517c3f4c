"""The `stationmaster` command: finds the commands by their file names; an error is one sentence and a way out,
exit code 2."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from stationmaster_trainer.errors import StationmasterError

from . import __version__, commands


def known_commands() -> list[str]:
    """Names of all commands: the files of `commands/`."""
    return sorted(path.stem for path in Path(commands.__path__[0]).glob("*.py") if not path.stem.startswith("_"))


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="stationmaster", description="Train a neural network from a conversation.")
    parser.add_argument("--version", action="version", version=f"stationmaster {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    argv = sys.argv[1:] if argv is None else argv
    known = known_commands()
    needed = (
        argv[:1] if argv[:1] and argv[0] in known else known
    )  # a server must not wait for the other commands' imports
    modules = {name: import_module(f"{commands.__name__}.{name}") for name in needed}
    for module in modules.values():
        module.add(subparsers)
    arguments = parser.parse_args(argv)
    try:
        return int(modules[arguments.command].run(arguments))
    except StationmasterError as error:
        from .answer import shown

        print(f"stationmaster {arguments.command}: {shown(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())

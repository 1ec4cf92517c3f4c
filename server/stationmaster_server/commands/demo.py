"""`stationmaster demo`: a real client holds the whole conversation and trains a real model on real data."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stationmaster_trainer.errors import RunError

if TYPE_CHECKING:
    from ..demo.chat import Chat
    from ..demo.conversation import Outcome

TARGET = 0.95
"""Validation accuracy that the demonstration promises."""
NEEDED = (
    "The demo needs scikit-learn for its data and torch for its model: pip install 'stationmaster[torch]' scikit-learn"
)


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = subparsers.add_parser("demo", help="train scikit-learn's digits through the whole conversation")
    parser.add_argument(
        "--dir", type=Path, default=Path("demo"), help="folder to make the project in (default: ./demo)"
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when the run succeeded with at least 95 % validation accuracy, else 1."""
    import anyio

    project = make_project(arguments.dir)
    print(f"Project: {project}\nThe lines of person and assistant are scripted; every call and answer is real.")
    return anyio.run(_demo, project)


def make_project(folder: Path) -> Path:
    """A new numbered project below `folder` with model.py and data/digits.csv. RunError when that cannot be."""
    from ..demo import chat

    folder = folder.expanduser().resolve()
    number = 1
    while True:
        project = folder / f"digits-{number}"
        try:
            project.mkdir(parents=True)
            break
        except FileExistsError:
            number += 1
        except OSError as error:
            raise RunError(f"{project} cannot be made: {error.strerror}.", "Name another folder with --dir.") from None
    for file in (Path(chat.__file__).parent / "project").glob("*.py"):
        shutil.copyfile(file, project / file.name)
    made = subprocess.run([sys.executable, "make_data.py"], cwd=project, capture_output=True, text=True, check=False)  # nosec B603 # argv list, no shell
    if made.returncode:
        raise RunError(f"make_data.py failed: {made.stderr.strip().splitlines()[-1]}.", NEEDED)
    return project


async def _demo(project: Path) -> int:
    from ..demo.chat import open_chat
    from ..demo.conversation import hold
    from ..demo.transcript import Transcript

    transcript = Transcript(sys.stdout)

    def person(question: str, schema: dict[str, Any]) -> dict[str, Any]:
        transcript.question(question)
        transcript.person("Yes.")
        return dict.fromkeys(schema.get("properties", {}), True)

    begun = time.monotonic()
    async with open_chat(project, person, env={"STATIONMASTER_PYTHON": sys.executable}) as chat:
        launch = time.monotonic() - begun
        outcome = await hold(chat, str(project), transcript)
        figures = _figures(chat, outcome, launch, time.monotonic() - begun)
    transcript.heading("The figures")
    print("\n".join(figures))
    return _judged(outcome)


def _figures(chat: Chat, outcome: Outcome, launch: float, seconds: float) -> list[str]:
    from ..demo.chat import tokens
    from ..words import duration, size

    listing = [json.dumps(tool) for tool in chat.schemas]
    memory = ", ".join(f"{name} {size(peak)}" for name, peak in outcome.memory.items())
    return [
        f"Time: {duration(seconds)}; server launch to tools/list {launch:.2f} s.",
        f"Peak memory: {memory or 'cannot be told on this system'}.",
        f"Tokens (characters / 4): tools/list {tokens(listing):,}; calls {tokens(chat.calls):,}; answers "
        f"{tokens(chat.texts):,} as text, {tokens(chat.facts):,} as structured content"
        f" ({outcome.looks} looks at the run, at the pace the tool asks for).",
    ]


def _judged(outcome: Outcome) -> int:
    if outcome.state != "succeeded":
        print(f"FAILED: the run ended as {outcome.state}.")
        return 1
    if outcome.accuracy is None or outcome.accuracy < TARGET:
        print(f"FAILED: validation accuracy {outcome.accuracy}, promised at least {TARGET}.")
        return 1
    print(f"Validation accuracy: {outcome.accuracy:.2%} (promised: at least {TARGET:.0%}).")
    return 0

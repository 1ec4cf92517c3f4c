"""Asks the Python that will train what only it can tell: the data, the split, the model, its packages.

The trainer's measuring script runs as a child with a deadline; its answer comes back as a dataclass, its errors as
ours. Not covered: user code that escapes its process group; what takes longer than a call (`lasting`).
"""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from typing import NoReturn

import stationmaster_trainer
from stationmaster_trainer import codec, errors
from stationmaster_trainer.errors import DataError, FormatError, ModelError, PluginError, RunError, StationmasterError
from stationmaster_trainer.facts import Answer, Request

from . import children
from .answer import clean, fence
from .environments import usable
from .framework import PACKAGES
from .interpreter import SETTINGS, install_command, probe, too_old

PACKAGE = Path(stationmaster_trainer.__file__).parent
SCRIPT = PACKAGE / "scripts" / "stationmaster_measure.py"
MAX_ANSWER = 8 << 20
"""Bytes of the largest answer that is read."""
_DATA_PACKAGES = ("pandas", "pyarrow", "pillow")
_KINDS: dict[str, type[StationmasterError]] = {"data": DataError, "split": DataError, "model": ModelError}
"""Request → error of a child that ends without an answer."""
DOING = {
    "smoke": "running the smoke test",
    "batch_size": "measuring memory by batch size",
    "learning_rate": "trying three learning rates",
}
"""A preflight in words."""


def measure(request: Request, python: str, *, timeout: float = 50, script: Path = SCRIPT) -> Answer:
    """Runs the measuring script in `python` and returns its answer; the field that was asked for is set.

    The child's working folder is the project. Raises what the script reports (DataError, ModelError, …); PluginError
    for a Python that cannot be started, is too old or lacks packages; after `timeout` seconds the error says so.
    """
    check(python)
    try:
        with tempfile.TemporaryDirectory(prefix="stationmaster-") as folder:
            ended, text = _run(request, python, Path(folder), timeout, script)
    except OSError as error:
        raise RunError(f"measuring needs a temporary folder: {error.strerror}.", "Make room, or set TMPDIR.") from None
    return outcome(request, python, text, ended, timeout)


def check(python: str) -> None:
    """Raises PluginError when this is no program."""
    if not usable(python):
        raise PluginError(f"the Python {python} is not an executable file.", _other_python())


def command(python: str, script: Path, ask: Path, said: Path) -> list[str]:
    """A script path, never `-m`: no file of the project can stand in for ours. The script loads the trainer's package
    alone, not what else lies beside it among the server's packages.
    """
    return [python, str(script), str(ask), str(said)]


def environment(seconds: float) -> dict[str, str]:
    """What a measuring process gets; after so long it ends itself, should nobody be there to end it."""
    return children.environment(
        PYTHONDONTWRITEBYTECODE="1",
        PYTHONFAULTHANDLER="1",
        PYTHONIOENCODING="utf-8",
        STATIONMASTER_DEADLINE=str(math.ceil(seconds)),
    )


def outcome(request: Request, python: str, text: bytes | None, ended: children.Ended, timeout: float) -> Answer:
    """The answer that a process left, or its error raised as ours."""
    if ended.code is None:
        _too_late(request, timeout, ended)
    if text is None:
        _no_answer(request, python, ended)
    answer = codec.loads(Answer, text, "the answer of the measuring script")
    if answer.error:
        _raise(answer, request, python)
    if getattr(answer, request.what) is None:
        raise FormatError(f"the measuring script answered without {request.what!r}.")
    return answer


def doing(request: Request) -> str:
    """`measuring the model`, `running the smoke test`."""
    return DOING.get(request.what, f"measuring the {request.what}")


def read(path: Path) -> bytes | None:
    """An answer's bytes; None while there is none, and for what is no plain file of a sensible size."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            content = file.read(MAX_ANSWER + 1)
    except OSError:
        return None
    return content if 0 < len(content) <= MAX_ANSWER else None


def _run(
    request: Request, python: str, folder: Path, timeout: float, script: Path
) -> tuple[children.Ended, bytes | None]:
    """One child with its request and answer in a private folder."""
    ask, said = folder / "request.json", folder / "answer.json"
    ask.write_text(codec.dumps(request), "utf-8")
    argv, env = command(python, script, ask, said), environment(timeout + 5)
    try:
        ended = children.run(argv, cwd=Path(request.project_dir), timeout=timeout, env=env)
    except OSError as error:
        raise PluginError(f"the Python {python} cannot be started: {error.strerror}.", _other_python()) from None
    return ended, read(said)


def _raise(answer: Answer, request: Request, python: str) -> NoReturn:
    """The answer's error as the class it names; a defect of ours keeps its type in the message."""
    named = getattr(errors, answer.error, None)
    kind = _KINDS.get(request.what, StationmasterError)
    if isinstance(named, type) and issubclass(named, StationmasterError):
        kind = named
    message = clean(answer.message, 600)
    if answer.error == "Bug":
        kind, message = StationmasterError, f"{doing(request)} met a defect of stationmaster: {message}"
    if answer.where and answer.where not in message:
        message = f"{message} ({clean(answer.where, 200)})"
    way_out = clean(answer.way_out, 600)
    if kind is PluginError and "pip install" in way_out:
        way_out = f"Install what it lacks: {_command(request, python)}"
    if answer.traceback:
        way_out = f"{way_out}\n{fence(answer.traceback, 'traceback', 1500)}".strip()
    raise kind(message, way_out)


def _too_late(request: Request, timeout: float, ended: children.Ended) -> NoReturn:
    kind = _KINDS.get(request.what, PluginError)
    files = f" of {', '.join(request.files[:3])}" if request.files else ""
    way_out = {
        "data": "Name a smaller file, or turn it into parquet, which is read faster.",
        "split": "Name a smaller file, or turn it into parquet, which is read faster.",
        "model": "Importing the model file must not train, download or wait: put that below "
        '`if __name__ == "__main__":`, or try a smaller batch_size.',
    }.get(request.what, "The machine may be busy: try again.")
    raise kind(
        f"{doing(request)}{files} took longer than {timeout:g} s and was ended.",
        _with_output(way_out, ended),
    )


def _no_answer(request: Request, python: str, ended: children.Ended) -> NoReturn:
    """A child that died: the reason is looked for in the Python itself first, then in its last words."""
    about = probe(python, Path("/"))
    if isinstance(about, str):
        raise PluginError(about, _other_python())
    if too_old(about.version):
        raise PluginError(
            f"{python} is Python {about.version}; training needs 3.10 or newer.",
            "Make a newer environment in the project.",
        )
    how = f"signal {-ended.code}" if ended.code is not None and ended.code < 0 else f"exit code {ended.code}"
    way_out = "Memory may have run out: try less data or a smaller batch_size." if how == "signal 9" else ""
    kind = _KINDS.get(request.what, StationmasterError)
    raise kind(f"{doing(request)} with {python} ended without an answer ({how}).", _with_output(way_out, ended))


def _with_output(way_out: str, ended: children.Ended) -> str:
    last = clean(ended.output[-1500:]).strip()
    return f"{way_out}\n{fence(last, 'last output')}".strip() if last else way_out


def _command(request: Request, python: str) -> str:
    framework = str(request.config.get("framework") or "pytorch")
    packages = _DATA_PACKAGES if request.what == "data" else PACKAGES.get(framework, PACKAGES["pytorch"])
    return install_command(python, packages)


def _other_python() -> str:
    return f"Name another interpreter: `python:` in {SETTINGS}, or STATIONMASTER_PYTHON."

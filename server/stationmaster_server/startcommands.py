"""Commands by which a project's own documents start a Python script: README files, shell scripts, Makefiles.

They are read and told, never run. Not covered: commands that a loop or a function of a shell puts together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stationmaster_trainer import redact, rundir
from stationmaster_trainer.errors import FormatError

from .listing import plain

MAX_BYTES = 200_000
"""Bytes that are read of one document."""
MAX_LINE = 1_000
MAX_COMMANDS = 50
MAX_ARGUMENTS = 40
_LAUNCHERS = ("python", "torchrun", "accelerate", "deepspeed", "srun", "mpirun")
_SHELL = re.compile(r"(\.(sh|slurm|sbatch)|makefile|justfile)$")
_DISTRIBUTED = "torch.distributed"
_PYTHON = re.compile(r"python(\d(\.\d+)?)?")
_ENDS = frozenset({"|", "||", "&&", ";", "&", ">", ">>", "2>&1", "2>", "#", "\\"})
_SKIPPED = frozenset({"setup.py", "manage.py"})
_UNSETTLED = re.compile(r"[$<>{}`*]|\.\.\.|…|^\[|\]$|path[/_]to|^/path|your[_-]", re.IGNORECASE)
"""Of an argument that stands for another one: `$DATA`, `<path>`, `[--fp16]`, `/path/to/coco`."""


@dataclass(frozen=True)
class StartCommand:
    """One command of a document."""

    document: str
    line: int
    launcher: str
    """`python`, `torchrun`, `accelerate`, …"""
    script: str
    """As written: relative to the project or to the document's folder."""
    arguments: tuple[str, ...]
    options: tuple[str, ...] = ()
    """What stands between launcher and script: `--nproc_per_node=8`."""

    @property
    def settled(self) -> bool:
        """Whether the arguments stand for themselves, with no placeholder and no secret among them."""
        return not any(_UNSETTLED.search(one) or redact.text(one) != one for one in (*self.options, *self.arguments))

    def __str__(self) -> str:
        return " ".join([self.launcher, self.script, *self.arguments])


def read(project: Path, documents: Iterable[str]) -> list[StartCommand]:
    """The commands of the documents in their order, READMEs first; what cannot be read is passed over."""
    found: list[StartCommand] = []
    for path in sorted(documents, key=lambda path: (path.count("/"), "readme" not in path.lower(), path)):
        try:
            content = rundir.read(project / path, MAX_BYTES)
        except (OSError, FormatError):
            continue
        prose = not _SHELL.search(path.lower())
        for line, words in _lines(content.decode("utf-8", "replace"), prose):
            found += _commands(path, line, words)
        if len(found) >= MAX_COMMANDS:
            break
    return found[:MAX_COMMANDS]


def _lines(text: str, prose: bool) -> Iterator[tuple[int, list[str]]]:
    """(line number, words) of what may be a command; a backslash joins the next line. Of prose, what it quotes."""
    words: list[str] = []
    start = 0
    for at, line in enumerate(text.splitlines(), 1):
        line = line[:MAX_LINE]
        if not words:
            start = at
        more = line.split()
        if prose and not words and not _begins(more):
            for quoted in line.split("`")[1::2]:
                if ".py" in quoted:
                    yield at, quoted.split()
            continue
        words += more
        if line.rstrip().endswith("\\") and len(words) < 400:
            words = [word for word in words if word != "\\"]
            continue
        if any(".py" in word for word in words):
            yield start, words
        words = []


def _begins(words: list[str]) -> bool:
    """Whether a line of prose is a command: `python …`, `$ torchrun …`, `CUDA_VISIBLE_DEVICES=0 python …`."""
    first = next((word for word in words if word not in ("$", ">", "%", "!") and "=" not in word), "")
    name = first.lstrip("$!").rpartition("/")[2]
    return bool(_PYTHON.fullmatch(name)) or name in (*_LAUNCHERS, "uv", "poetry", "sudo", "nohup")


def _commands(document: str, line: int, words: list[str]) -> Iterator[StartCommand]:
    launcher, since = "", 0
    for at, word in enumerate(words):
        name = word.lstrip("$(!>@").rpartition("/")[2]
        if _PYTHON.fullmatch(name) or name in _LAUNCHERS:
            launcher = launcher if launcher in ("accelerate", "deepspeed", "torchrun") else _PYTHON.sub("python", name)
            module = next((place for place in range(at, min(at + 4, len(words))) if _DISTRIBUTED in words[place]), at)
            launcher, since = ("torchrun" if module > at else launcher), max(since, module + 1)
        elif word in _ENDS:
            launcher, since = "", 0
        elif launcher and word.endswith(".py") and plain(word):
            if word.rpartition("/")[2] not in _SKIPPED:
                options = _arguments(words[since:at])
                arguments = _arguments(words[at + 1 :])
                yield StartCommand(document, line, launcher, word.removeprefix("./"), arguments, options)
            launcher, since = "", 0


def _arguments(words: list[str]) -> tuple[str, ...]:
    taken: list[str] = []
    for word in words[:MAX_ARGUMENTS]:
        if word in _ENDS or word.startswith((">", "#", "|", "2>")):
            break
        taken.append(word.strip("\"'") if word[:1] in "\"'" else word)
        if word.endswith(";"):
            taken[-1] = taken[-1][:-1]
            break
    return tuple(word for word in taken if plain(word))

"""A command that trains, as a list of words: the program that it starts and the project's own files that it names.

Files: scripts with their local imports, modules after `-m`, shell scripts with what their lines name, configurations.
Not covered: data files, folders, installed packages, and names that a shell script computes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from . import entry, rundir
from .contract import TrainingConfig
from .errors import FormatError, ModelError

SHELLS = (".sh", ".bash", ".zsh", ".ksh")
CONFIGS = (
    ".yaml",
    ".yml",
    ".json",
    ".toml",
    ".cfg",
    ".ini",
    ".conf",
    ".gin",
    ".args",
    ".jsonnet",
    ".libsonnet",
    ".env",
)
PYTHONS = ("python", "python3")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_OPERATORS = frozenset({"&&", "||", "|", ";", "&", ">", ">>", "<", "<<", "2>&1", "2>", "&>", "|&"})
_VARIABLE = re.compile(r"\$[A-Za-z_{(]|`")
_PREFIX = re.compile(r"^[\"']?\$[\w{}()\[\]@%/.:\"' $-]*/")
"""A folder that the shell computes, in front of a file's name."""
MOST_WORDS = 500
MOST_LINES = 5000


def split(command: str | Sequence[str]) -> tuple[str, ...]:
    """The words of a command, never through a shell; assignments in front become those of `env`.

    Raises ModelError for an empty command and for what only a shell understands.
    """
    try:
        words = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
    except ValueError as error:
        raise ModelError(f"the command cannot be split into words: {error}.", "Check its quotes.") from None
    if not words or not words[0] or len(words) > MOST_WORDS or any("\0" in word for word in words):
        raise ModelError(f"{command!r} is no command.", 'Give the program and its arguments: "torchrun train.py".')
    shell = next((word for word in words if word in _OPERATORS or word.endswith(";")), "")
    if isinstance(command, str):
        shell = shell or next((word for word in words if _VARIABLE.search(word)), "")
    if shell:
        raise ModelError(
            f"the command is not run through a shell, which {shell!r} would need.",
            "Write the value itself, or put the line into a .sh file of the project and name that.",
        )
    return ("env", *words) if _ASSIGNMENT.match(words[0]) else tuple(words)


def words(config: TrainingConfig) -> tuple[str, ...]:
    """The whole command of a script that runs as it is, as a person would type it."""
    command = config.command or ("python", config.model_path)
    return (*command, *config.script_args)


def shell_of(script: Path) -> str:
    """The shell that a shell script names in its first line; else bash."""
    try:
        first = rundir.read(script, entry.MAX_BYTES).splitlines()[0].decode("utf-8", "replace")
    except (OSError, FormatError, IndexError):
        return "bash"
    names = [Path(word).name for word in first[2:].split()] if first.startswith("#!") else []
    return next((name for name in names if name in ("sh", "dash", "bash", "zsh", "ksh")), "bash")


def runnable(words: Sequence[str], python: str, project: Path) -> list[str]:
    """The words with each program as an absolute path. Raises ModelError for a program that does not exist."""
    found = [program(words[0], python, project), *words[1:]]
    place = 1
    if Path(words[0]).name == "env":
        while place < len(words) and (_ASSIGNMENT.match(words[place]) or words[place].startswith("-")):
            place += 1
        if place < len(words):
            found[place] = program(words[place], python, project)
    return found


def program(name: str, python: str, project: Path) -> str:
    """Where a program is: in the folder of the Python that trains, else on PATH; one with a slash in the project."""
    if name in PYTHONS:
        return python
    if os.sep in name:
        path = (project / os.path.expanduser(name)).absolute()
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
        what = "is not executable" if path.is_file() else "does not exist"
        raise ModelError(f"the program {name!r} {what}.", "Name an executable file; a shell script: bash <file>.")
    folder = str(Path(python).parent)
    found = shutil.which(name, path=folder) or shutil.which(name)
    if found is None:
        raise ModelError(
            f"the program {name!r} is neither in {folder} nor on PATH.",
            "Install it into the project's environment, or correct its name.",
        )
    return os.path.abspath(found)


def files(words: Sequence[str], project: Path) -> list[Path]:
    """The project's own files that the command names, and what these import or name; absolute, in that order."""
    found: dict[Path, None] = {}
    queue = list(_named(words, (project,), project))
    while queue:
        path = queue.pop(0)
        if path in found:
            continue
        found[path] = None
        if path.suffix == ".py":
            found |= dict.fromkeys(entry.local_files(path, project))
        elif _is_shell(path):
            queue += _named(_shell_words(path), (project, path.parent), project)
    return list(found)


def contents(words: Sequence[str], project: Path) -> dict[Path, bytes]:
    """Absolute path → content of `files`. Raises ModelError when one cannot be read."""
    found: dict[Path, bytes] = {}
    for path in files(words, project):
        try:
            found[path] = rundir.read(path, entry.MAX_BYTES)
        except (OSError, FormatError) as error:
            raise ModelError(f"{path} cannot be read: {error}.", "Check it, or leave it out of the command.") from None
    return found


def sha256(words: Sequence[str], project: Path, held: dict[Path, bytes] | None = None) -> str:
    """SHA-256 over the words, and over names and contents of `files`. Raises ModelError when one cannot be read.

    `held`: the contents, when they were read already.
    """
    found = contents(words, project) if held is None else held
    said = "\0".join(words).encode("utf-8", "surrogateescape")
    return hashlib.sha256(said + b"\0" + entry.sha256(found, project).encode()).hexdigest()


def main_file(words: Sequence[str], project: Path) -> str:
    """What the command is called by: its script, relative to the project; else its shell script, its configuration, or
    its program."""
    named = [path for path in _named(words, (project,), project) if path.name != "__init__.py"]
    for suffixes in ((".py",), SHELLS, CONFIGS):
        for path in named:
            if path.suffix in suffixes:
                return path.relative_to(project.resolve()).as_posix()
    return next(Path(word).name for word in words if word != "env" and not _ASSIGNMENT.match(word))


def _named(words: Iterable[str], folders: Sequence[Path], project: Path) -> Iterator[Path]:
    before = ""
    for word in words:
        if before in ("-m", "--module") and re.fullmatch(r"[\w.]+", word):
            yield from entry.module_files(word, project)
        else:
            yield from _file(word, folders, project)
        before = word


def _file(word: str, folders: Sequence[Path], project: Path) -> Iterator[Path]:
    """The file that a word names: by itself, behind `--config=` or `@`, or behind a folder that a shell computes."""
    root = project.resolve()
    names = dict.fromkeys(
        (word, word.partition("=")[2], word.lstrip("@"), _PREFIX.sub("", word), "Makefile" * (word == "make"))
    )
    for name in filter(None, names):
        for folder in folders:
            try:
                path = (folder / name).resolve()
                if path.is_file() and path.is_relative_to(root) and _counts(path, root):
                    yield path
                    break
            except (OSError, RuntimeError, ValueError):  # no name of a file at all
                continue


def _counts(path: Path, root: Path) -> bool:
    """Code and configuration of the project itself, not what is installed below it or was written by runs."""
    parts = path.relative_to(root).parts
    if any(part in ("site-packages", "node_modules", rundir.RUNS) for part in parts) or "bin" in parts[1:2]:
        return False
    return path.suffix in (".py", *CONFIGS) or _is_shell(path)


def _is_shell(path: Path) -> bool:
    if path.suffix in SHELLS or path.name == "Makefile":
        return True
    if path.suffix or not os.access(path, os.X_OK):
        return False
    try:
        return rundir.read(path, entry.MAX_BYTES)[:2] == b"#!"
    except (OSError, FormatError):
        return False


def _shell_words(path: Path) -> list[str]:
    """The words of a shell script's lines; where quotes do not close, by blanks."""
    try:
        text = rundir.read(path, entry.MAX_BYTES).decode("utf-8", "replace").replace("\\\n", " ")
    except (OSError, FormatError):
        return []
    found: list[str] = []
    for line in text.splitlines()[:MOST_LINES]:
        try:
            found += shlex.split(line, comments=True)
        except ValueError:
            found += line.split()
    return [word.strip("\"'();") for word in found]

"""A Jupyter notebook, read as JSON and never run: its code cells, which of them train, and the same as a script.

Shell and magic lines are commented out in the script and told. Not covered: what such a line would have set up.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stationmaster_trainer import rundir
from stationmaster_trainer.errors import ConfigError, FormatError

from .listing import plain

SUFFIX = ".ipynb"
MAX_BYTES = 16_000_000
"""Bytes of the largest notebook that is read; more are pictures in its outputs."""
MAX_CODE = 400_000
"""Characters of code in all its cells."""
MAX_CELLS = 2_000
MAX_REPAIRS = 200
"""Lines of one cell that are commented out, each found by parsing the cell again."""
_MAGIC = re.compile(r"\s*(?:[%!?]|[\w.]+\?{1,2}\s*$|[\w, ]+=\s*[%!])")
_PYTHON_CELLS = frozenset({"time", "capture", "timeit", "prun", "python", "python3", "wandb", "memit", "mprun"})
"""Cell magics whose cell is Python all the same."""
_TIMED = re.compile(r"(\s*)%(?:time|prun|memit)\s+(?!-)(\S.*)")
"""A line magic around a statement, which is kept."""


@dataclass(frozen=True)
class Cell:
    """One code cell as it stands in the script."""

    number: int
    """Among all cells, from 1, as a person counts them."""
    code: str
    left_out: tuple[str, ...] = ()
    """Lines that only a notebook understands, commented out."""


@dataclass(frozen=True)
class Notebook:
    """A notebook's code."""

    path: str
    cells: tuple[Cell, ...] = ()
    count: int = 0
    """All cells, texts included."""
    sha256: str = ""
    problem: str = ""
    """Why it cannot be used, when it cannot."""


def read(project: Path, path: str) -> Notebook:
    """Reads a notebook; one that is damaged, huge or of another language has a `problem`, never an exception."""
    try:
        content = rundir.read(project / path, MAX_BYTES)
    except FormatError as error:
        large = "longer than" in error.message
        return Notebook(
            path, problem=f"larger than {MAX_BYTES // 1_000_000} MB; clear its outputs" if large else "no file"
        )
    except OSError as error:
        return Notebook(path, problem=f"cannot be read: {error.strerror}")
    try:
        document = json.loads(content)
        language, cells = _language(document), _cells(document)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, MemoryError):
        return Notebook(path, problem="no readable notebook")
    if language not in ("", "python", "python3", "ipython"):
        return Notebook(path, problem=f"its language is {language[:20] if plain(language) else 'not Python'}")
    sources = [(at, text) for at, (kind, text) in enumerate(cells[:MAX_CELLS], 1) if kind == "code" and text.strip()]
    if sum(len(text) for _, text in sources) > MAX_CODE or len(cells) > MAX_CELLS:
        return Notebook(path, problem=f"more than {MAX_CODE:,} characters of code or {MAX_CELLS:,} cells")
    found = tuple(_cell(at, text) for at, text in sources)
    return Notebook(path, found, len(cells), hashlib.sha256(content).hexdigest())


def _language(document: Any) -> str:
    about = document.get("metadata") or {}
    named = (about.get("language_info") or {}).get("name") or (about.get("kernelspec") or {}).get("language") or ""
    return str(named).lower()


def _cells(document: Any) -> list[tuple[str, str]]:
    """(kind, text) of each cell, of the formats 3 and 4. Raises what a document of another shape leads to."""
    sheets = document.get("worksheets") or [document]
    found = []
    for cell in (cell for sheet in sheets for cell in sheet["cells"]):
        source = cell.get("source", cell.get("input", ""))
        text = source if isinstance(source, str) else "".join(map(str, source))
        found.append((str(cell.get("cell_type")), text.replace("\r\n", "\n").replace("\r", "\n")))
    return found


def _cell(number: int, text: str) -> Cell:
    lines = text.rstrip().split("\n")
    if lines[0].lstrip().startswith("%%"):
        words = lines[0].lstrip()[2:].split()
        if not words or words[0] not in _PYTHON_CELLS:
            return Cell(number, "\n".join(f"# {line}".rstrip() for line in lines), (lines[0].strip(),))
        return _repaired(number, [_commented(lines[0]), *lines[1:]], ())
    return _repaired(number, lines, ())


def _repaired(number: int, lines: list[str], left_out: tuple[str, ...]) -> Cell:
    """The cell with each line that only a notebook understands as a comment: where parsing fails, and only there.

    So a text over several lines that holds such a line stays as it is.
    """
    for _ in range(MAX_REPAIRS):
        place = _wrong_line(lines)
        if place is None:
            return Cell(number, "\n".join(lines), left_out)
        timed = _TIMED.fullmatch(lines[place])
        if timed:
            lines[place] = timed[1] + timed[2]
        elif _MAGIC.match(lines[place]):
            start = place
            while lines[place].rstrip().endswith("\\") and place + 1 < len(lines):
                place += 1
            left_out += (lines[start].strip(),)
            for at in range(start, place + 1):
                lines[at] = _commented(lines[at], at == start)
        else:
            break
    return Cell(number, "\n".join(lines), left_out)


def _wrong_line(lines: list[str]) -> int | None:
    """Place of the line at which parsing fails; None when the cell is Python, or fails elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse("\n".join(lines))
        except SyntaxError as error:
            return min(max(error.lineno or 1, 1), len(lines)) - 1
        except (ValueError, RecursionError, MemoryError):
            return None
    return None


def _commented(line: str, alone: bool = True) -> str:
    """The line as a comment; an indented one leaves `pass`, so that its block stays one."""
    indent = line[: len(line) - len(line.lstrip())]
    return f"{indent}{'pass  ' if indent and alone else ''}# {line.strip()}" if line.strip() else line


def script(found: Notebook) -> str:
    """The notebook as a Python script; its header says where it comes from and what was left out.

    Raises ConfigError for one that cannot be a script: with the cell, the line and the way out.
    """
    if found.problem:
        raise ConfigError(f"{found.path} cannot be exported: {found.problem}.")
    if not found.cells:
        raise ConfigError(f"{found.path} has no code cells.", "Name another notebook.")
    code = "\n".join(cell.code for cell in found.cells)
    text = "\n".join([*_header(found, code), *(line for cell in found.cells for line in _marked(cell))]) + "\n"
    _check(found, text)
    return text


def _header(found: Notebook, code: str) -> list[str]:
    lines = [f"# Exported from {found.path}, sha256 {found.sha256}"]
    left = [(cell.number, line) for cell in found.cells for line in cell.left_out]
    lines += [f"# Commented out, because only a notebook understands it: {len(left)}"] if left else []
    lines += [f"#   cell {number}: {line[:100]}" for number, line in left[:12]]
    if "/" in found.path:
        lines += [
            "import os  # a notebook runs in its own folder",
            "os.chdir(os.path.dirname(os.path.abspath(__file__)))",
        ]
    if re.search(r"(?<![\w.])display\(", code) and "import display" not in code:
        lines.append("display = print  # a notebook has it built in")
    return lines


def _marked(cell: Cell) -> Iterable[str]:
    return ("", f"# %% cell {cell.number}", *cell.code.split("\n"))


def _check(found: Notebook, text: str) -> None:
    """Compiles and never runs it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(text, found.path, "exec", dont_inherit=True)
        except SyntaxError as error:
            number, line = cell_at(text, error.lineno or 1)
            way_out = "Correct the cell"
            if "await" in str(error.msg):
                way_out = "Call it by asyncio.run(…)"
            raise ConfigError(
                f"{found.path}, cell {number}, line {line}: {str(error.msg)[:200]}; as a script it would not run.",
                f"{way_out}, save the notebook, and export it again.",
            ) from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise ConfigError(f"{found.path} cannot be compiled: {type(error).__name__}.") from None


def cell_at(text: str, line: int) -> tuple[int, int]:
    """(number of the cell, line in it) of a line of an exported script."""
    number, start = 0, 0
    for at, content in enumerate(text.split("\n")[:line], 1):
        if match := re.fullmatch(r"# %% cell (\d+)", content):
            number, start = int(match[1]), at
    return number, line - start


def export(project: Path, path: str) -> str:
    """Writes the script beside the notebook, over nothing that is there, and returns its path below the project.

    The same script that is there already is taken again. Raises ConfigError for what cannot be exported.
    """
    if not plain(path) or not _inside(project, path):
        raise ConfigError(f"script {path[:120]!r} is no notebook of the project.", "Name a file inside the project.")
    content = script(read(project, path)).encode("utf-8", "replace")
    folder, _, name = path.rpartition("/")
    stem = re.sub(r"\W+", "_", name.removesuffix(SUFFIX)).strip("_") or "notebook"
    for at in range(1, 1000):
        wanted = f"{folder}/" * bool(folder) + f"{stem}_from_notebook{'' if at == 1 else f'_{at}'}.py"
        target = project / wanted
        try:
            if target.is_symlink() or (target.exists() and rundir.read(target, len(content) + 1) != content):
                continue
            if not target.exists():
                rundir.create(target, content, 0o644)
            return wanted
        except (FormatError, FileExistsError):
            continue
        except OSError as error:
            raise ConfigError(f"{wanted} cannot be written: {error.strerror}.", "Make the folder writable.") from None
    raise ConfigError(f"{path} was exported 999 times.", "Remove the old exports.")


def _inside(project: Path, path: str) -> bool:
    try:
        found = (project / path).resolve()
        return found.is_relative_to(project.resolve()) and found.is_file()
    except (OSError, RuntimeError, ValueError):
        return False


def origin(project: Path, content: str) -> tuple[str, bool] | None:
    """(notebook that a script was exported from, whether it is still the same); None for any other script."""
    match = re.match(r"# Exported from (.+), sha256 ([0-9a-f]{64})\n", content)
    if match is None:
        return None
    try:
        path = project / match[1]
        same = _inside(project, match[1]) and hashlib.sha256(rundir.read(path, MAX_BYTES)).hexdigest() == match[2]
    except (OSError, FormatError, ValueError, RuntimeError):
        same = False
    return match[1], same

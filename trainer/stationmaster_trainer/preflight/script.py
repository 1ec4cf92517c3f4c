"""What can be said of a script as it is without running it: it compiles, its imports exist, its arguments fit.

Its loop cannot be tried without training: steps, memory, saving and resume are not looked at. Not covered: imports by a
computed name or behind a condition, and parsers other than argparse.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .. import commandline
from ..contract import TrainingConfig
from ..facts import Finding, SmokeFacts

WHY = "the script trains as soon as it runs, so its loop cannot be tried alone"
NOT_CHECKED = {"steps, loss and learning": WHY, "memory, checkpoints and resume": WHY}


def look(config: TrainingConfig, project: Path) -> SmokeFacts:
    """Raises ModelError when the script or a file that it imports cannot be read."""
    contents = commandline.contents(commandline.words(config), project)
    files = {path: content for path, content in contents.items() if path.suffix == ".py"}
    folders = dict.fromkeys((*(path.parent for path in files), project))
    trees: dict[str, ast.Module] = {}
    findings: list[Finding] = []
    for file, content in files.items():
        name = file.relative_to(project.resolve()).as_posix()
        found = _parsed(content, name)
        if isinstance(found, Finding):
            findings.append(found)
        else:
            trees[name] = found
    version = ".".join(map(str, sys.version_info[:2]))
    checked = [f"{len(trees)} of {len(files)} of its files compile under Python {version}"]
    names = dict(one for name, tree in trees.items() for one in _imports(tree, name))
    gone = [(name, place) for name, place in sorted(names.items()) if not _found(name, tuple(folders))]
    findings += [_missing(name, place, files.values()) for name, place in gone]
    checked.append(f"{len(names) - len(gone)} of {len(names)} imported packages are there")
    known, whole = _options(trees.values())
    arguments = _arguments(config)
    whole = whole and arguments is not None
    if known and whole:
        findings += _unknown(arguments or (), sorted(known))
        checked.append(f"arguments compared with the {len(known)} options of its parser")
    missing = NOT_CHECKED | ({} if known and whole else {"arguments": "its options cannot be read from its source"})
    return SmokeFacts("", 0, checked=tuple(checked), not_checked=missing, findings=tuple(findings))


def _arguments(config: TrainingConfig) -> tuple[str, ...] | None:
    """What the Python script itself is given; None when a shell script or a tool decides that."""
    words = commandline.words(config)
    if config.model_path not in words or not config.model_path.endswith(".py"):
        return None
    return words[words.index(config.model_path) + 1 :]


def _parsed(content: bytes, name: str) -> ast.Module | Finding:
    """The tree of a file that compiles, or what is wrong with it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(content)
            compile(content, name, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError) as error:
            place = f"{name}:{getattr(error, 'lineno', None) or 1}"
            message = f"{place} does not compile: {getattr(error, 'msg', None) or error}."
            return Finding("syntax", "error", message, "Correct it; it may be written for another version of Python.")
    return tree


def _imports(tree: ast.Module, name: str) -> Iterator[tuple[str, str]]:
    """(top-level package, place) of every import that happens whenever the file runs: not those in a `try` or `if`."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], f"{name}:{node.lineno}") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0], f"{name}:{node.lineno}"


def _found(name: str, folders: Sequence[Path]) -> bool:
    """Whether it could be imported; nothing is."""
    if any((folder / f"{name}.py").exists() or (folder / name).is_dir() for folder in folders):
        return True
    try:
        return name in sys.builtin_module_names or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _missing(name: str, place: str, files: Iterable[bytes]) -> Finding:
    moved = any(b"sys.path" in content for content in files)
    message = f"{place} imports {name}, which this Python does not find."
    advice = f"Install it: {sys.executable} -m pip install the package that has {name}."
    if moved:
        return Finding("imports", "warning", message, f"{advice} Or the script itself adds its folder to sys.path.")
    return Finding("imports", "error", message, advice)


def _options(trees: Iterable[ast.Module]) -> tuple[set[str], bool]:
    """Options of argparse parsers, and whether these are all: none is made by a computed name or left over."""
    found: set[str] = set()
    for tree in trees:
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr in ("parse_known_args", "add_subparsers", "parse_known_intermixed_args"):
                return found, False
            if node.func.attr == "add_argument":
                words = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
                if len(words) < len(node.args) or any(word.arg is None for word in node.keywords):
                    return found, False
                found |= {str(word) for word in words if str(word).startswith("-")}
    return found, True


def _unknown(arguments: Sequence[str], known: Sequence[str]) -> Iterator[Finding]:
    """Options that the parser would refuse; it takes the beginning of a name for the whole, and negative numbers."""
    for argument in arguments:
        name = argument.partition("=")[0]
        if not name.startswith("--") or name == "--" or any(option.startswith(name) for option in (*known, "--help")):
            continue
        shown = ", ".join(option for option in known if option.startswith("--"))
        message = f"the script's parser knows no {name[:80]}."
        yield Finding("arguments", "error", message, f"It knows {shown[:400]}.")

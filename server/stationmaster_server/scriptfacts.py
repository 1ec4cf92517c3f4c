"""What a training script's source says of its validation and its checkpoints, read from syntax trees with evidence.

The script and the project's files that it imports are read, never run. Not covered: what a library does unasked.
"""

from __future__ import annotations

import ast
import functools
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from stationmaster_trainer import commandline, entry
from stationmaster_trainer.entry import KEPT

_VALIDATES = re.compile(r"(do_|run_)?(valid|validate|validation|evaluate|eval|test)(_|$)")
_HELD_OUT = re.compile(
    r"(^|_)(val|valid|validation|eval|dev|test|holdout)_?(dl|loader|dataloader|ds|set|data|dataset)s?$"
)
_ARGUMENTS = ("eval_dataset", "validation_data", "validation_split", "val_dataloaders", "eval_dataloader")
_STEPS = ("validation_step", "val_dataloader")
_SPLITS = ("val", "valid", "validation", "eval", "dev", "test", "holdout")
_MEASURES = re.compile(r"loss|criterion|acc|correct|metric|error|score|entropy|nll|perplex", re.IGNORECASE)
"""What code that validates names, and code that only draws samples does not."""
_SAVES = ("torch.save", "save_pretrained", "save_checkpoint", "save_model", "save_state", "save_weights")
_WATCH = "stationmaster.watch"
_OPTION = re.compile(
    r"--(do_|do-)?(eval|valid|validation|val)([_-](strategy|steps|file|dataset|data|split|every|interval|dir))?(=.*)?$"
)
"""Options by which command lines usually switch a validation on."""
_KEY = re.compile(
    r"""\s*["']?((?:val|eval|test|valid|validation)_(?:set_size|size|dataset|datasets|data|strategy|steps|split)"""
    r"""|evaluation_strategy|do_eval|dataset_val|dataset_validation|run_val_every_n_steps|val_check_interval)["']?\s*[:=]\s*(.*)"""
)
"""The same in configurations of axolotl, LLaMA-Factory, torchtune, Transformers and Lightning."""
_OFF = ("", "0", "0.0", "no", "false", "null", "none", "~", "[]")
MOST_LINES = 20_000
MOST_SHOWN = 4


@dataclass(frozen=True)
class ScriptFacts:
    """One script with its local imports; marks are `file:line what`."""

    validation: tuple[str, ...]
    """Signs that it measures on data that it does not train on."""
    saving: tuple[str, ...]
    saves_optimizer: bool
    watches: str = ""
    """`file:line` of its call of `stationmaster.watch`, which makes checkpoints that a run resumes from."""


def look(project: Path, words: Sequence[str]) -> ScriptFacts:
    """Reads what a command names: scripts with their local imports, shell scripts, configurations.

    A file that cannot be parsed says nothing.
    """
    root = project.resolve()
    validation = [f"option {word}" for word in words if _OPTION.match(word)]
    saving: list[str] = []
    optimizer, watches = False, ""
    for path, content in commandline.contents(words, project).items():
        if path.suffix in entry.COMPILED:
            continue
        name, signs = path.relative_to(root).as_posix(), _signs(content) if path.suffix == ".py" else None
        if signs is None:
            validation += [f"{name}:{line} {what}" for line, what in _in_text(content, path.suffix == ".py")]
            continue
        validation += [f"{name}:{line} {what}" for line, what in signs.validation]
        saving += [f"{name}:{line} {what}" for line, what in signs.saving]
        optimizer = optimizer or signs.saves_optimizer
        watches = watches or next((f"{name}:{line}" for line in signs.watching), "")
    shown = tuple(validation[:MOST_SHOWN]), tuple(saving[:MOST_SHOWN])
    return ScriptFacts(*shown, optimizer and bool(saving), watches)


class _Signs(NamedTuple):
    """What one Python file says: `(line, what)`."""

    validation: tuple[tuple[int, str], ...]
    saving: tuple[tuple[int, str], ...]
    saves_optimizer: bool
    watching: tuple[int, ...]


@functools.lru_cache(maxsize=KEPT)
def _signs(content: bytes) -> _Signs | None:
    """Remembered by the content; None for what cannot be parsed."""
    tree = _parse(content)
    if tree is None:
        return None
    optimizer = any(_saves_optimizer(node) for node in ast.walk(tree))
    return _Signs(tuple(sorted(_validation(tree))), tuple(sorted(_saving(tree))), optimizer, tuple(_watching(tree)))


def _in_text(content: bytes, skip: bool) -> Iterator[tuple[int, str]]:
    """Options of a shell script and keys of a configuration that switch a validation on."""
    lines = [] if skip else content.decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines[:MOST_LINES], 1):
        key = _KEY.match(line)
        if key and key[2].strip("\"' ,").lower() not in _OFF:
            yield number, key[1]
        else:
            yield from ((number, f"option {word}") for word in line.split() if _OPTION.match(word))


def _parse(content: bytes) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(content)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _validation(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Strong signs; a `.eval()` alone is one only beside gradients that are switched off."""
    nodes = list(ast.walk(tree))
    called = {_name(node.func) for node in nodes if isinstance(node, ast.Call)}
    for node in nodes:
        if isinstance(node, ast.FunctionDef):
            validates = _VALIDATES.match(node.name) or _measures_a_split(node)
            if node.name in _STEPS or (validates and node.name in called):
                yield node.lineno, f"def {node.name}"
        elif isinstance(node, ast.Call):
            yield from ((node.lineno, f"{word.arg}=") for word in node.keywords if _given(word))
            yield from ((node.lineno, f"fit(… {name} …)") for name in _fitted(node))
            if _name(node.func) == "evaluated" and any(word.arg == "loss" for word in node.keywords):
                yield node.lineno, "evaluated(loss=…)"
        elif isinstance(node, (ast.For, ast.comprehension)) and (held := _held_out(node.iter)):
            yield node.iter.lineno, f"for … in {held}"
    off = [node for node in nodes if isinstance(node, ast.With) and _without_gradients(node)]
    modes = [node for node in nodes if isinstance(node, ast.Call) and _is_eval(node)]
    if off and modes:
        yield modes[0].lineno, ".eval()"
        yield off[0].lineno, f"with {ast.unparse(off[0].items[0].context_expr)[:40]}"


def _fitted(node: ast.Call) -> list[str]:
    """Held-out data among the places of `trainer.fit(model, train_loader, val_loader)`."""
    if not (isinstance(node.func, ast.Attribute) and node.func.attr == "fit"):
        return []
    return [name for one in node.args if (name := _name(one)) and _HELD_OUT.search(name)]


def _given(word: ast.keyword) -> bool:
    nothing = isinstance(word.value, ast.Constant) and not word.value.value
    return word.arg in _ARGUMENTS and not nothing


def _held_out(node: ast.expr) -> str:
    return next(
        (name for part in ast.walk(node) if (name := _name(part)) and _HELD_OUT.search(name)),
        "",
    )


def _without_gradients(node: ast.With) -> bool:
    """Whether it switches gradients off and measures something."""
    off = any(_switches_off(item.context_expr) for item in node.items)
    return off and any(_MEASURES.search(ast.unparse(part)) for part in node.body)


def _measures_a_split(node: ast.FunctionDef) -> bool:
    """Whether it is marked as without gradients and names a split, as in `for split in ["train", "val"]`."""
    if not any(map(_switches_off, node.decorator_list)):
        return False
    return any(isinstance(part, ast.Constant) and part.value in _SPLITS for part in ast.walk(node))


def _switches_off(node: ast.expr) -> bool:
    return re.search(r"(no_grad|inference_mode)\b", ast.unparse(node)) is not None


def _is_eval(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Attribute) and node.func.attr == "eval" and not node.args and not node.keywords


def _saving(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            text = ast.unparse(node.func)
            if any(text == save or text.endswith(f".{save}") for save in _SAVES):
                yield node.lineno, f"{text[-40:]}()"
        if isinstance(node, ast.Call) and (name := _name(node.func)) and _library_saves(node, name):
            yield node.lineno, f"{name}()"


def _library_saves(node: ast.Call, name: str) -> bool:
    """Whether a library saves by itself: HuggingFace's arguments with a folder, a `ModelCheckpoint`."""
    given = {word.arg: word.value for word in node.keywords}
    strategy = given.get("save_strategy")
    never = isinstance(strategy, ast.Constant) and strategy.value == "no"
    return name == "ModelCheckpoint" or ("output_dir" in given and name.endswith(("Arguments", "Config")) and not never)


def _watching(tree: ast.Module) -> Iterator[int]:
    """Lines that call `stationmaster.watch`, by this name or imported from there."""
    nodes = list(ast.walk(tree))
    alone = any(isinstance(node, ast.ImportFrom) and node.module == "stationmaster" for node in nodes)
    for node in nodes:
        if isinstance(node, ast.Call):
            text = ast.unparse(node.func)
            if text == _WATCH or (alone and text == "watch"):
                yield node.lineno


def _saves_optimizer(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and (name := _name(node.func)) and _library_saves(node, name):
        part = {"save_only_model", "save_weights_only"}
        return not any(word.arg in part and _is_true(word.value) for word in node.keywords)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "save_state":
        return True  # Accelerate's, which saves all that it prepared
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "state_dict"):
        return False
    return "opt" in ast.unparse(node.func.value).lower()


def _is_true(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""

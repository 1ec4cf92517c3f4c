"""What a Python file says about training, read from its syntax tree: imports, models, functions, training loops.

The file is never imported. Not covered: names made at run time, and star imports of local files.
"""

from __future__ import annotations

import ast
import re
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import syntax
from .drivers import GRADIENTS, Sign, Signs, trainer_of
from .marks import Mark, first
from .modelclass import ModelClass, model_kind, settle
from .syntax import Function, Parameter, Visit

MAX_BYTES = 1_000_000
"""Larger files are not parsed; and so much of a project is parsed whatever it holds."""
MAX_FILES = 1_000
MAX_SECONDS = 8.0
"""Parsing runs at some 0.3 to 1 MB a second."""
_RELATED = re.compile(rb"torch|jax|flax|transformers|keras|lightning|build_model|build_data|\bnn\b|Module")
FUNCTIONS = ("build_model", "build_data", "loss", "metrics")
"""Functions of the user's file that the adapters call."""
_LIBRARIES = frozenset({"torch", "transformers", "jax", "flax", "optax", "numpy", "pandas", "typing", "collections"})
_STARS = ("torch.nn", "flax.linen", "flax.nnx")
_NO_MODELS = ("Tokenizer", "Processor", "Config", "FeatureExtractor")


@dataclass(frozen=True)
class FunctionFacts:
    """One of `FUNCTIONS`, defined at the top of a file."""

    name: str
    line: int
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True)
class SourceFacts:
    """One Python file."""

    path: str
    bytes: int = 0
    imports: tuple[Mark, ...] = ()
    """First import of each module, as its full dotted name; local and type-checking imports left out."""
    models: tuple[ModelClass, ...] = ()
    functions: tuple[FunctionFacts, ...] = ()
    main: int = 0
    """Line of `if __name__ == "__main__"`, else 0."""
    training: tuple[Mark, ...] = ()
    """First of each sign of a training loop."""
    signs: tuple[Sign, ...] = ()
    """The same, with what drives the loop."""
    trainers: tuple[tuple[str, str], ...] = ()
    """Classes that derive from a library's trainer: (name, driver)."""
    starters: tuple[str, ...] = ()
    """Functions that train, directly or by calling others of the file; `*` when a class does."""
    executed: tuple[str, ...] = ()
    """Imported names that are called when the file is imported, as full dotted names."""
    local: tuple[Mark, ...] = ()
    """Relative imports: `..engine.train`, one dot for the file's own folder."""
    pretrained: tuple[Mark, ...] = ()
    """Identifiers or folders given to `from_pretrained` of a model class."""
    inline_models: tuple[Mark, ...] = ()
    """Models made outside any class: `nn.Sequential(…)` at the top of the file."""
    built: tuple[Mark, ...] = ()
    """Classes of the project that are called outside any class: the model that a script trains is among them."""
    trains_on_import: int = 0
    """Line that starts training when the file is imported, else 0."""
    problem: str = ""
    """Why the file could not be read, when it could not."""
    line: int = 0
    """Line of a syntax error."""


def read_all(project: Path, paths: Iterable[str]) -> tuple[list[SourceFacts], str]:
    """Reads the files in their order, and says in words what was left out: those beyond `MAX_FILES` or `MAX_SECONDS`.

    Beyond the first `MAX_BYTES` in all, files that name no framework are taken for unrelated.
    """
    files: list[SourceFacts] = []
    paths, size, began = list(paths), 0, time.monotonic()
    for path in paths[:MAX_FILES]:
        if time.monotonic() - began > MAX_SECONDS:
            break
        files.append(read(project, path, any_content=size < MAX_BYTES))
        size += files[-1].bytes
    left = len(paths) - len(files)
    return settle(files), f"{left:,} of {len(paths):,} Python files were not read" if left else ""


def read(project: Path, path: str, *, any_content: bool = True) -> SourceFacts:
    """Reads one file; a syntax error, a huge or unreadable file is its `problem`, never an exception."""
    try:
        size = (project / path).stat().st_size
        content = (project / path).read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        return SourceFacts(path, problem=f"cannot be read: {error.strerror}")
    if size > MAX_BYTES:
        return SourceFacts(path, problem=f"not read: {size:,} bytes, more than {MAX_BYTES:,}")
    if not any_content and not _RELATED.search(content):
        return SourceFacts(path, bytes=size)
    return of_text(path, content)


def of_text(path: str, content: bytes) -> SourceFacts:
    """What a text says of training, under the name of the file that it stands in."""
    try:
        return _File(path, len(content), _parse(content)).facts()
    except SyntaxError as error:
        return SourceFacts(path, problem=f"syntax error: {error.msg}", line=error.lineno or 0)
    except (ValueError, RecursionError, MemoryError) as error:
        return SourceFacts(path, problem=f"cannot be parsed: {type(error).__name__}")


def _parse(content: bytes) -> ast.Module:
    """The tree; bytes that are not valid in the file's encoding are replaced, they stand in comments and texts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(content)
        except SyntaxError as error:
            if "codec can't decode" not in str(error) and "utf-8" not in str(error).lower():
                raise
            return ast.parse(content.decode("utf-8", "replace").removeprefix("\ufeff"))


class _File:
    """One parsed file; `facts()` gathers what is in it."""

    def __init__(self, path: str, size: int, tree: ast.Module) -> None:
        self.path = path
        self.size = size
        self.body = tree.body
        self.visits = syntax.visits(tree.body)
        self.names, self.stars = syntax.imported_names(self.visits)
        self.texts = syntax.constants(tree.body)
        classes = {node.name: node.bases for node in tree.body if isinstance(node, ast.ClassDef)}
        dotted = {name: next(filter(trainer_of, map(self._dotted, bases)), "") for name, bases in classes.items()}
        self.trainers = {name: base for name, base in dotted.items() if base}
        libraries = {name.partition(".")[0] for name in (*self.names.values(), *self.stars)}
        self.signs = Signs(self._dotted, libraries, self.trainers)

    def facts(self) -> SourceFacts:
        training = [(visit, sign) for visit in self.visits for sign in self.signs.of(visit.node)]
        starters = self._starters(training)
        main = [statement for statement in self.body if syntax.is_main(statement)]
        return SourceFacts(
            self.path,
            bytes=self.size,
            imports=first(self._imports()),
            models=tuple(self._models()),
            functions=tuple(
                FunctionFacts(node.name, node.lineno, syntax.parameters(node))
                for node in self.body
                if isinstance(node, Function) and node.name in FUNCTIONS
            ),
            main=main[0].lineno if main else 0,
            training=first(Mark(sign.what, sign.line) for _, sign in training),
            signs=tuple(sorted((sign for _, sign in training), key=lambda sign: sign.line)),
            trainers=tuple((name, trainer_of(base)) for name, base in self.trainers.items()),
            starters=tuple(sorted(starters)),
            local=first(Mark(*found) for found in syntax.relative_imports(self.visits)),
            executed=self._executed(),
            pretrained=first(mark for visit in self.visits for mark in self._pretrained(visit.node)),
            inline_models=tuple(self._inline_models()),
            built=first(self._built()),
            trains_on_import=self._trains_on_import(training, starters),
        )

    def _dotted(self, node: ast.AST) -> str:
        """`nn.Linear` as `torch.nn.Linear`, through the file's imports; empty for anything but names and attributes."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        first = self.names.get(node.id)
        if first is None and not parts and node.id in ("Module", "Sequential"):
            first = next((f"{star}.{node.id}" for star in self.stars if star in _STARS), None)
        return ".".join([first or node.id, *reversed(parts)])

    def _imports(self) -> Iterator[Mark]:
        for node in (visit.node for visit in self.visits if not visit.typing_only):
            if isinstance(node, ast.Import):
                yield from (Mark(alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                yield Mark(node.module, node.lineno)
                yield from (Mark(f"{node.module}.{alias.name}", node.lineno) for alias in node.names)

    def _models(self) -> Iterator[ModelClass]:
        classes = {node.name: node for node in self.body if isinstance(node, ast.ClassDef)}
        for name, node in classes.items():
            kind = self._kind(node, classes, 0)
            if kind:
                uses = sorted(filter(None, (self._local(used) for used in syntax.names_in(node))))
                yield ModelClass(
                    name, self.path, node.lineno, kind, self._constructor(node, classes, 0), uses=tuple(uses)
                )

    def _local(self, name: str) -> str:
        """The class that a name may stand for in this project; empty for names of known libraries and small letters."""
        full = self.names.get(name, name)
        last = full.rpartition(".")[2]
        return last if last[:1].isupper() and full.partition(".")[0] not in _LIBRARIES else ""

    def _built(self) -> Iterator[Mark]:
        for node in (visit.node for visit in self.visits if not visit.in_class):
            if isinstance(node, ast.Call):
                dotted = self._dotted(node.func)
                name = dotted.rpartition(".")[2]
                if name[:1].isupper() and dotted.partition(".")[0] not in _LIBRARIES:
                    yield Mark(name, node.lineno)

    def _kind(self, node: ast.ClassDef, classes: dict[str, ast.ClassDef], depth: int) -> str:
        """Kind of model by the bases; `?Base` for a base that may be a class of another file; empty for no model."""
        unsettled = ""
        for base in node.bases:
            dotted = self._dotted(base.value if isinstance(base, ast.Subscript) else base)
            kind = model_kind(dotted)
            if not kind and dotted in classes and dotted != node.name and depth < 20:
                kind = self._kind(classes[dotted], classes, depth + 1)
            if kind and not kind.startswith("?"):
                return kind
            unsettled = unsettled or kind or (f"?{dotted.rpartition('.')[2]}" if "." in dotted else "")
        return unsettled

    def _constructor(self, node: ast.ClassDef, classes: dict[str, ast.ClassDef], depth: int) -> tuple[Parameter, ...]:
        """Parameters of `__init__`, else the annotated fields of a linen module, else those of a base in this file."""
        for statement in node.body:
            if isinstance(statement, Function) and statement.name == "__init__":
                return syntax.parameters(statement)[1:]
        fields = [item for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]
        if fields and self._kind(node, classes, 0) == "linen":
            return tuple(Parameter(item.target.id, syntax.text(item.value)) for item in fields)  # type: ignore[union-attr]
        for base in node.bases:
            name = self._dotted(base)
            if name in classes and name != node.name and depth < 20:
                return self._constructor(classes[name], classes, depth + 1)
        return ()

    def _pretrained(self, node: ast.AST) -> Iterator[Mark]:
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            return
        owner = self._dotted(node.func.value).rpartition(".")[2]
        if node.func.attr != "from_pretrained" or not owner or any(word in owner for word in _NO_MODELS):
            return
        first = node.args[0]
        value = self.texts.get(first.id) if isinstance(first, ast.Name) else getattr(first, "value", None)
        if isinstance(value, str) and 0 < len(value) <= 200:
            yield Mark(value, node.lineno)

    def _inline_models(self) -> Iterator[Mark]:
        for statement in self.body:
            value = getattr(statement, "value", None) if isinstance(statement, (ast.Assign, ast.AnnAssign)) else None
            if isinstance(value, ast.Call) and model_kind(self._dotted(value.func)) in ("pytorch", "nnx", "linen"):
                yield Mark(f"{self._dotted(value.func)}(…)", statement.lineno)

    def _executed(self) -> tuple[str, ...]:
        """Imported names that are called when the file is imported."""
        visits = (visit for visit in self.visits if visit.executed and isinstance(visit.node, ast.Call))
        found = {self._dotted(visit.node.func) for visit in visits if isinstance(visit.node, ast.Call)}
        return tuple(sorted(name for name in found if "." in name))[:100]

    def _starters(self, training: list[tuple[Visit, Sign]]) -> set[str]:
        starters = {visit.function for visit, _ in training} - {""}
        calls = syntax.bare_calls(self.visits)
        while more := {visit.function for visit, name in calls if name in starters} - starters - {""}:
            starters |= more
        return starters | {"*" for visit, _ in training if visit.in_class}

    def _trains_on_import(self, training: list[tuple[Visit, Sign]], starters: set[str]) -> int:
        """Line of the first statement that trains on import, directly or by calling a function of the file."""
        # jax.grad only wraps a function; what trains is the call of its result.
        lines = [sign.line for visit, sign in training if visit.executed and sign.what not in GRADIENTS]
        calls = syntax.bare_calls(self.visits)
        lines += [visit.node.lineno for visit, name in calls if visit.executed and name in starters]
        return min(lines, default=0)

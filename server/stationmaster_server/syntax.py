"""Questions to a Python syntax tree: what names stand for, what runs on import, the parameters of a function."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Parameter:
    """One parameter of a constructor or function."""

    name: str
    default: str | None
    """Its default as source text, cut at 40 characters; None when it must be given."""


def imported_names(seen: Iterable[Visit]) -> tuple[dict[str, str], list[str]]:
    """Local name → full dotted name, by the imports anywhere in the file; and the modules of star imports."""
    names: dict[str, str] = {}
    stars: list[str] = []
    for node in (visit.node for visit in seen):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                if alias.name == "*":
                    stars.append(module)
                else:
                    names[alias.asname or alias.name] = f"{module}.{alias.name}"
    return names, stars


def relative_imports(seen: Iterable[Visit]) -> Iterator[tuple[str, int]]:
    """(`..engine.train`, line) of each name that a relative import takes, imports for types left out."""
    for node in (visit.node for visit in seen if not visit.typing_only):
        if isinstance(node, ast.ImportFrom) and node.level:
            module = "." * node.level + (f"{node.module}." if node.module else "")
            yield from ((f"{module}{alias.name}", node.lineno) for alias in node.names)


def bare_calls(seen: Iterable[Visit]) -> list[tuple[Visit, str]]:
    """Calls of a name without a dot."""
    calls = ((visit, visit.node.func) for visit in seen if isinstance(visit.node, ast.Call))
    return [(visit, func.id) for visit, func in calls if isinstance(func, ast.Name)]


def constants(body: Iterable[ast.stmt]) -> dict[str, str]:
    """Texts bound to a name at the top of the file."""
    found: dict[str, str] = {}
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found.update({target.id: node.value.value for target in node.targets if isinstance(target, ast.Name)})
    return found


def parameters(function: Function) -> tuple[Parameter, ...]:
    """Named parameters in their order, keyword-only ones last; `*args` and `**kwargs` left out."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    gap = len(positional) - len(arguments.defaults)
    found = [
        Parameter(item.arg, text(arguments.defaults[at - gap]) if at >= gap else None)
        for at, item in enumerate(positional)
    ]
    found += [
        Parameter(item.arg, None if default is None else text(default))
        for item, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    return tuple(found)


def text(node: ast.expr | None) -> str | None:
    """Source text of an expression, cut at 40 characters."""
    if node is None:
        return None
    try:
        text = ast.unparse(node)
    except (RecursionError, ValueError):
        return "…"
    return text if len(text) <= 40 else text[:39] + "…"


def names_in(node: ast.ClassDef) -> set[str]:
    """Every bare name that a class uses."""
    return {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}


def is_main(statement: ast.stmt) -> bool:
    """Whether this is `if __name__ == "__main__":`."""
    if not (isinstance(statement, ast.If) and isinstance(statement.test, ast.Compare)):
        return False
    sides = [statement.test.left, *statement.test.comparators]
    return any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)


@dataclass(frozen=True)
class Visit:
    """A call, an import or a function, and where it stands."""

    node: ast.Call | ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef
    function: str
    """Name of the function at the top of the file that it stands in; empty outside of one."""
    in_class: bool
    executed: bool
    """Whether it runs when the file is imported: in no function, class, lambda or main guard."""
    typing_only: bool
    """Whether it stands below `if TYPE_CHECKING:`."""


def visits(body: list[ast.stmt]) -> list[Visit]:
    """Every call, import and function of a file, in no order, found in one pass that no depth of nesting overflows."""
    found: list[Visit] = []
    stack: list[tuple[ast.AST, str, bool, bool, bool]] = [(node, "", False, not is_main(node), False) for node in body]
    while stack:
        node, function, in_class, runs, typing_only = stack.pop()
        if isinstance(node, (ast.Call, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef)):
            found.append(Visit(node, function, in_class, runs, typing_only))
        if isinstance(node, ast.ClassDef):
            in_class = True
        if isinstance(node, Function) and not in_class:
            function = function or node.name
        runs = runs and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda))
        typing_only = typing_only or (isinstance(node, ast.If) and _names_type_checking(node.test))
        for child in _children(node):
            stack.append((child, function, in_class, runs, typing_only))
    return found


def _children(node: ast.AST) -> Iterator[ast.AST]:
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, list):
            yield from (item for item in value if isinstance(item, ast.AST))
        elif isinstance(value, ast.AST) and not isinstance(value, (ast.expr_context, ast.Constant)):
            yield value


def _names_type_checking(test: ast.expr) -> bool:
    return getattr(test, "id", getattr(test, "attr", "")) == "TYPE_CHECKING"

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


def imported_names(nodes: Iterable[ast.AST]) -> tuple[dict[str, str], list[str]]:
    """Local name → full dotted name, by the imports anywhere in the file; and the modules of star imports."""
    names: dict[str, str] = {}
    stars: list[str] = []
    for node in nodes:
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


def calls(nodes: Iterable[ast.AST]) -> set[str]:
    """Bare names that are called."""
    return {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def is_main(statement: ast.stmt) -> bool:
    """Whether this is `if __name__ == "__main__":`."""
    if not (isinstance(statement, ast.If) and isinstance(statement.test, ast.Compare)):
        return False
    sides = [statement.test.left, *statement.test.comparators]
    return any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)


def executed(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Nodes that run when the file is imported: not the bodies of functions and classes, not the main guard."""
    queue: list[ast.AST] = [node for node in reversed(body) if not is_main(node)]
    while queue:
        node = queue.pop()
        if isinstance(node, (Function, ast.ClassDef, ast.Lambda)):
            continue
        yield node
        queue.extend(reversed(list(ast.iter_child_nodes(node))))


def outside_classes(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Every node but those of class bodies."""
    queue: list[ast.AST] = list(body)
    while queue:
        node = queue.pop()
        if not isinstance(node, ast.ClassDef):
            yield node
            queue.extend(ast.iter_child_nodes(node))


def type_checking(nodes: Iterable[ast.AST]) -> set[int]:
    """Identities of the nodes below `if TYPE_CHECKING:`."""
    guarded = [
        node
        for node in nodes
        if isinstance(node, ast.If) and getattr(node.test, "id", getattr(node.test, "attr", "")) == "TYPE_CHECKING"
    ]
    return {id(node) for guard in guarded for statement in guard.body for node in ast.walk(statement)}

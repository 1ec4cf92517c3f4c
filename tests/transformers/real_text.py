"""Real texts that every machine with these packages has: what people wrote about the functions of three libraries."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

PARTS = {"sklearn": ("linear_model", "cluster", "ensemble"), "pandas": ("core",), "numpy": ("lib", "ma", "polynomial")}
"""Library → sub-packages that are read."""


def sentences(library: str, most: int) -> list[tuple[str, str]]:
    """(name of the function or class, first paragraph of its docstring), without the library's own name in it."""
    return list(islice(_sentences(library), most))


def _sentences(library: str) -> Iterator[tuple[str, str]]:
    spec = importlib.util.find_spec(library)
    assert spec is not None and spec.origin is not None
    root, seen = Path(spec.origin).parent, set[str]()
    for part in PARTS[library]:
        for path in sorted((root / part).rglob("*.py")):
            if "test" in path.as_posix().removeprefix(root.as_posix()):
                continue
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                    continue
                text = " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
                if 40 <= len(text) <= 300 and library not in text.lower() and text not in seen:
                    seen.add(text)
                    yield node.name, text

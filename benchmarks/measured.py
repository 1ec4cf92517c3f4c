"""The block of a document that a benchmark writes: what lies between `<!-- measured: NAME, … -->` and its end."""

from __future__ import annotations

import re
from pathlib import Path


def write(document: Path, name: str, text: str) -> None:
    """Puts the text into the block of that name. Raises SystemExit when the document has none."""
    content = document.read_text("utf-8")
    block = re.compile(rf"(<!-- measured: {name}\b[^>]*-->\n).*?(<!-- end: {name} -->)", re.DOTALL)
    if not block.search(content):
        raise SystemExit(f"{document} has no block <!-- measured: {name} … --> … <!-- end: {name} -->.")
    document.write_text(block.sub(lambda match: f"{match[1]}\n{text.strip()}\n\n{match[2]}", content), "utf-8")

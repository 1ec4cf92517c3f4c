"""The measured table of frameworks and loggers has a row for each plug-in that there is, and nothing in it failed."""

from __future__ import annotations

import re
from pathlib import Path

from stationmaster_server.config import BACKENDS
from stationmaster_trainer import plugins

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "support.md"
FAKE = {"memory"}
FILES = {"csv", "json"}
"""Loggers that are on together, under the name `file`."""


def rows() -> dict[tuple[str, str], list[str]]:
    """(framework, logger) → marks."""
    found = re.search(r"<!-- measured: matrix.*?<!-- end: matrix -->", DOCUMENT.read_text("utf-8"), re.DOTALL)
    assert found
    lines = [line.strip("| ").split(" | ") for line in found[0].splitlines() if line.startswith("| ")]
    return {(line[0], line[1]): line[2:] for line in lines[2:]}


def test_every_framework_and_every_logger_has_a_row() -> None:
    frameworks, loggers = ({pair[place] for pair in rows()} for place in (0, 1))
    assert frameworks == set(plugins.known("adapters"))
    assert loggers == set(BACKENDS)
    assert (loggers - {"file"}) | FILES | FAKE == set(plugins.known("loggers"))
    assert len(rows()) == len(frameworks) * len(loggers)


def test_everything_in_the_table_was_shown() -> None:
    assert [pair for pair, marks in rows().items() if marks != ["✓"] * 6] == []

"""A plug-in of pytest: writes which faults each marked test causes and what became of it; goes on where it was."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .book import Book, source

CODE = source()


def _book() -> Book:
    return Book(Path(os.environ["STATIONMASTER_FAULTS"]))


def _key(item: pytest.Item) -> str:
    """Changes with the program and with the file of the test."""
    return f"{CODE}-{hashlib.sha256(item.path.read_bytes()).hexdigest()[:8]}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what has passed already."""
    done = {(line["test"], line["key"]) for line in _book().lines() if line["outcome"] == "passed"}
    over = [item for item in items if (item.nodeid, _key(item)) in done]
    items[:] = [item for item in items if item not in over]
    config.hook.pytest_deselected(items=over)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A line per test: its call, or what came before it when that was not passed."""
    outcome: Any = yield
    report = outcome.get_result()
    names = [name for mark in item.iter_markers("fault") for name in mark.args]
    if names and (report.when == "call" or report.outcome != "passed"):
        _book().note("test", test=item.nodeid, key=_key(item), faults=names, outcome=report.outcome)

"""A plug-in of pytest: writes which faults each marked test stands for and what became of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A line per test: its call, or what came before it when that was not passed."""
    outcome: Any = yield
    report = outcome.get_result()
    names = [name for mark in item.iter_markers("fault") for name in mark.args]
    if names and (report.when == "call" or report.outcome != "passed"):
        with open(os.environ["STATIONMASTER_FAULTS"], "a") as file:
            file.write(json.dumps({"faults": names, "test": item.nodeid, "outcome": report.outcome}) + "\n")

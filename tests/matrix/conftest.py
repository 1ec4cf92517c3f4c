"""The stories behind the table, each told once; and the table itself, written from what became of its cells."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

_TESTS = Path(__file__).resolve().parent.parent
sys.path.extend(str(_TESTS / area) for area in ("matrix", "loggers", "process", "transformers", "pytorch"))

import support_table  # noqa: E402
from scenarios import SCENARIOS  # noqa: E402
from story import Story, alone, whole  # noqa: E402

from stationmaster_server.config import BACKENDS  # noqa: E402

OUTCOMES = pytest.StashKey[dict[str, bool]]()


@pytest.fixture(scope="module")
def story(request: pytest.FixtureRequest, hall: Any) -> Iterator[Callable[[str], Story]]:
    """`story("flax")`: the run of a framework with every logger; two are told at a time, as there are two cores."""
    wanted = {item.callspec.params.get("framework") for item in request.session.items if hasattr(item, "callspec")}
    with ThreadPoolExecutor(2) as pool:
        told: dict[str, Future[Story]] = {}
        for name in ("transformers", "flax", "pytorch"):  # the slow ones first
            if name in wanted:
                told[name] = pool.submit(_tell, hall, name)
        yield lambda name: told[name].result()


@pytest.fixture(scope="module")
def lone_story(hall: Any) -> Callable[[str], Story]:
    """`lone_story("wandb")`: a run of PyTorch with that logger only; all are started before one is waited for."""
    chat = hall.connect(hall.make("alone"))
    waiting = {backend: alone(chat, backend) for backend in BACKENDS}
    return lambda backend: waiting[backend]()


def _tell(hall: Any, name: str) -> Story:
    project, scenario = hall.make(name), SCENARIOS[name]
    scenario.prepare(project)
    return whole(hall.connect(project, **scenario.environment), scenario, BACKENDS)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[OUTCOMES] = {}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A cell holds only if every phase of its test passed."""
    outcome: Any = yield
    report, cells = outcome.get_result(), item.config.stash[OUTCOMES]
    if hasattr(item, "callspec") and item.path.parent == Path(__file__).parent:
        cells[item.callspec.id] = cells.get(item.callspec.id, True) and report.passed


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes the table of this run: into the document that STATIONMASTER_SUPPORT names, else beside pytest's files."""
    cells = session.config.stash[OUTCOMES]
    if cells:
        asked = os.environ.get("STATIONMASTER_SUPPORT")
        factory: Any = session.config._tmp_path_factory  # type: ignore[attr-defined]
        support_table.write(Path(asked) if asked else factory.getbasetemp() / "support.md", cells)

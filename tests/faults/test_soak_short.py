"""The soak in short: thirty random kills of real processes, where nothing but the framework is left out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from soaking import document
from soaking.account import MUST_BE_ZERO, Account, Kill, Session
from soaking.book import Book

ROOT = Path(__file__).resolve().parents[2]
SEED = os.environ.get("STATIONMASTER_TEST_SEED", "20261123")
KILLS = os.environ.get("STATIONMASTER_TEST_KILLS", "30")


@pytest.mark.timeout(900)
@pytest.mark.fault("F1", "F3", "F4", "F6")
def test_thirty_random_kills_leave_nothing_false_torn_lost_or_different() -> None:
    command = [sys.executable, "benchmarks/soak.py", "--kills", KILLS, "--frameworks", "stand-in", "--seed", SEED]
    done = subprocess.run([*command, "--minutes", "12"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    for what in MUST_BE_ZERO:
        assert f"| {what} | 0 |" in done.stdout


def test_a_soak_that_was_ended_goes_on_with_what_it_had_counted(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "soak.jsonl"
    first = Account({"flax": 3}, Book(path))
    first.begin(Session("00000000", "abcdef0", "2026-11-29", 7, 2, "2 cores"))
    first.killed(Kill("flax", "worker", "save", 0.25, 1))
    first.fault("untrue states", "run-1")
    first.compared("flax", 4)
    with path.open("a") as file:
        file.write('{"event": "kill", "frame')  # cut off by a kill
    again = Account({"flax": 3}, Book(path))
    assert (again.kills, again.faults, again.left("flax"), again.complete) == (first.kills, first.faults, 2, False)
    assert again.lines() == first.lines()
    again.killed(Kill("flax", "server", "train", 0.0, 1))
    assert len(Account({"flax": 3}, Book(path)).kills) == 2 and again.zeros["untrue states"] == 1


def test_every_fault_has_a_test_and_every_marked_fault_is_in_the_table() -> None:
    marked = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for line in path.read_text().splitlines():
            if line.startswith("@pytest.mark.fault("):
                marked |= set(line.partition("(")[2].rstrip(")").replace('"', "").replace(" ", "").split(","))
    assert marked == set(document.FAULTS)

"""The soak in small: thirty kills of worker, supervisor and server of PyTorch runs, and every count is zero."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from soaking import document
from soaking.account import MUST_BE_ZERO

ROOT = Path(__file__).resolve().parents[2]
SEED = os.environ.get("STATIONMASTER_TEST_SEED", "20261123")
KILLS = os.environ.get("STATIONMASTER_TEST_KILLS", "30")


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.fault("F1", "F3", "F4", "F6")
def test_thirty_random_kills_leave_nothing_false_torn_lost_or_different() -> None:
    command = [sys.executable, "benchmarks/soak.py", "--kills", KILLS, "--frameworks", "pytorch", "--seed", SEED]
    done = subprocess.run([*command, "--minutes", "12"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    for what in MUST_BE_ZERO:
        assert f"| {what} | 0 |" in done.stdout


def test_every_fault_has_a_test_and_every_marked_fault_is_in_the_table() -> None:
    marked = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for line in path.read_text().splitlines():
            if line.startswith("@pytest.mark.fault("):
                marked |= set(line.partition("(")[2].rstrip(")").replace('"', "").replace(" ", "").split(","))
    assert marked == set(document.FAULTS)

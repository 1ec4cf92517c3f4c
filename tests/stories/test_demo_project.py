"""The project that the demonstration makes for itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from stationmaster_server.commands.demo import make_project


def test_a_second_demonstration_leaves_the_first_ones_project_alone(tmp_path: Path) -> None:
    first = make_project(tmp_path)
    (first / "model.py").write_text("# mine now\n")
    second = make_project(tmp_path)
    assert (first.name, second.name) == ("digits-1", "digits-2")
    assert (first / "model.py").read_text() == "# mine now\n"
    rows = (second / "data" / "digits.csv").read_text().splitlines()
    assert len(rows) == 1 + 1797
    assert rows[0].startswith("pixel_0_0,") and rows[0].endswith(",label")


def test_a_folder_that_cannot_hold_the_project_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    command = [sys.executable, "-m", "stationmaster_server", "demo", "--dir", str(tmp_path / "file" / "demo")]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert "file/demo" in refused.stderr and "--dir" in refused.stderr
    assert "Traceback" not in refused.stderr

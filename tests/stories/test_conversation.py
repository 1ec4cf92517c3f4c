"""Whole conversations through a real client over stdio, about real runs on scikit-learn's digits."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

LOGGING = "I need logging configured before training. Which backend would you like to use?"
BACKENDS = (
    "- File-based (CSV/JSON) - zero dependencies\n- TensorBoard - local visualization\n"
    "- Weights & Biases - cloud tracking"
)
VALIDATION = (
    "No validation dataset specified. Training without validation makes it impossible to detect overfitting. Options:\n"
    "1. Provide validation dataset path\n2. Auto-split training data (80/20)\n"
    "3. Proceed without validation (not recommended)"
)
QUESTION = "Does this configuration look correct? Any changes?"
SUMMARY = (
    "Training Complete",
    "Total steps:",
    "Final train loss:",
    "Best validation loss:",
    "Total time:",
    "Throughput:",
)


def test_the_demonstration_holds_the_whole_conversation_and_keeps_its_promise(tmp_path: Path) -> None:
    """`stationmaster demo` is a real client, the real server, a real run; this reads its transcript."""
    command = [sys.executable, "-m", "stationmaster_server", "demo", "--dir", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=170)
    assert done.returncode == 0, done.stdout + done.stderr
    said = "\n".join(line[12:] if line.startswith(" " * 12) else line for line in done.stdout.splitlines())
    steps = [LOGGING, BACKENDS, VALIDATION, QUESTION, "epochs: 20", QUESTION, "server asks", "start_run", *SUMMARY]
    places = [said.find(step) for step in steps]
    assert -1 not in places, steps[places.index(-1)]
    assert said.index(LOGGING) < said.index(VALIDATION) < said.index(QUESTION) < said.index("Training Complete")
    accuracy = re.search(r"Validation accuracy: ([\d.]+)%", done.stdout)
    assert accuracy and float(accuracy[1]) >= 95
    (project,) = (tmp_path / "demo").iterdir()
    (run,) = (path for path in (project / "runs").iterdir() if path.is_dir())
    assert (run / "report.md").is_file() and (run / "metrics.csv").is_file()


def test_every_gate_refuses_in_the_order_of_the_conversation(chat: Any, project: Any) -> None:
    refused = chat.refused("start_run", digest="0" * 64)
    assert refused.startswith(LOGGING) and BACKENDS in refused
    chat.accepted("choose_logging", backends=["file"])
    assert chat.refused("start_run", digest="0" * 64).startswith(VALIDATION)
    assert VALIDATION in chat.accepted("check_validation").text
    chat.accepted("check_validation", split=True)
    assert "propose_config" in chat.refused("start_run", digest="0" * 64)
    shown = chat.accepted("propose_config", changes={"epochs": 1})
    assert shown.text.rstrip().endswith(QUESTION)
    assert "is not that of the configuration last shown" in chat.refused("start_run", digest="0" * 64)
    changed = chat.accepted("propose_config", changes={"learning_rate": 0.002})
    assert "learning_rate: 0.002 (default 0.001)" in changed.facts["changes"]
    assert "outdated" in chat.refused("start_run", digest=shown.facts["digest"])
    model = project.path / "model.py"
    model.write_text(model.read_text("utf-8") + "\n# changed after the person saw the configuration\n", "utf-8")
    assert "model file" in chat.refused("start_run", digest=changed.facts["digest"])
    assert chat.accepted("list_runs").facts["runs"] == []

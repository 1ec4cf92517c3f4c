"""What others would say of the same logs: the checklist's rules taken literally, and five public tools from PyPI.

The tools run in an environment of their own in the temporary folder of the system, made at the first call. One that
cannot be installed or run is named with its reason and left out.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from stationmaster_trainer.contract import Eval, Record, Train

TOOLS = {
    "losslint": ("losslint==0.4.1",),
    "gradsnitch": ("gradsnitch==0.1.0", "numpy==2.2.6", "pandas==2.3.3"),
    "trainspotter": ("trainspotter==0.2.6", "numpy==2.2.6"),
    "runmedic": ("runmedic==0.1.1",),
    "trainproof": ("trainproof==0.22.0",),
}
"""Tool → what is installed for it (each without what it would pull in besides)."""
NEEDED = ("python-dateutil==2.9.0.post0", "six==1.17.0", "pytz==2025.2", "tzdata==2025.2")
COLUMNS = ("loss", "eval_loss", "grad_norm", "learning_rate")


def rows_of(records: Iterable[Record]) -> list[dict[str, Any]]:
    """The records as any tool's log would hold them: a row a step, non-finite values as they are."""
    rows: list[dict[str, Any]] = []
    for record in records:
        if isinstance(record, Train):
            rows.append({"step": record.step, "loss": record.loss, "learning_rate": record.learning_rate})
            if record.grad_norm is not None:
                rows[-1]["grad_norm"] = record.grad_norm
        elif isinstance(record, Eval):
            if not rows or rows[-1]["step"] != record.step:
                rows.append({"step": record.step})
            rows[-1]["eval_loss"] = record.loss
    return rows


def literal(rows: Sequence[dict[str, Any]]) -> set[str]:
    """Classes that the checklist's five sentences name, read word for word; the average is that of the last 20."""
    said: set[str] = set()
    for name, factor, fault in (("loss", 2.0, "spike"), ("grad_norm", 10.0, "gradspike")):
        before: list[float] = []
        for value in (row[name] for row in rows if isinstance(row.get(name), (int, float))):
            if len(before) >= 20 and value > factor * fmean(before[-20:]):
                said.add(fault)
            if math.isfinite(value):
                before = [*before[-19:], value]
    if any(not math.isfinite(row[n]) for row in rows for n in COLUMNS if isinstance(row.get(n), (int, float))):
        said.add("nan")
    if any(row["learning_rate"] < 1e-7 for row in rows if isinstance(row.get("learning_rate"), (int, float))):
        said.add("lr")
    return said | ({"overfit"} if _rises_while_train_falls(rows) else set())


def _rises_while_train_falls(rows: Sequence[dict[str, Any]]) -> bool:
    last: tuple[float, float] | None = None
    train = math.nan
    for row in rows:
        train = row["loss"] if isinstance(row.get("loss"), (int, float)) else train
        value = row.get("eval_loss")
        if isinstance(value, (int, float)):
            if last is not None and value > last[0] and train < last[1]:
                return True
            last = (value, train)
    return False


def write(folder: Path, logs: dict[str, list[dict[str, Any]]]) -> None:
    """One JSON-lines file a log."""
    for name, rows in logs.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def environment() -> tuple[Path, dict[str, str]]:
    """(python of the environment, tool → why it could not be installed)."""
    folder = Path(tempfile.gettempdir()) / "stationmaster-rivals"
    python, missing = folder / "bin" / "python", {}
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    for tool, packages in TOOLS.items():
        marker = folder / f"{tool}.installed"
        if marker.exists() and marker.read_text() == " ".join(packages):
            continue
        done = subprocess.run([*pip, *packages, *NEEDED], capture_output=True, text=True, timeout=600)
        if done.returncode:
            missing[tool] = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        else:
            marker.write_text(" ".join(packages))
    return python, missing


def verdicts(logs: dict[str, list[dict[str, Any]]]) -> tuple[dict[str, dict[str, set[str]]], dict[str, str]]:
    """(tool → log → classes it warned of, tool → why it did not run)."""
    python, missing = environment()
    said: dict[str, dict[str, set[str]]] = {}
    with tempfile.TemporaryDirectory() as held:
        write(Path(held), logs)
        for tool in TOOLS:
            if tool in missing:
                continue
            driver = Path(__file__).with_name("_rival_driver.py")
            done = subprocess.run([str(python), str(driver), tool, held], capture_output=True, text=True, timeout=3600)
            if done.returncode:
                missing[tool] = (done.stderr.strip().splitlines() or ["no output"])[-1]
            else:
                said[tool] = {name: set(classes) for name, classes in json.loads(done.stdout).items()}
    return said, missing

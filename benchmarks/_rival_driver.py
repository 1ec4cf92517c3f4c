"""Runs one public tool over a folder of logs and prints log → classes of fault that it warned of (info left out).

usage: python _rival_driver.py TOOL FOLDER      (with the Python of the environment that holds the tool)
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CLASSES = {
    "losslint": {
        "nan_inf": "nan",
        "loss_spike": "spike",
        "divergence": "divergence",
        "overfit_onset": "overfit",
        "stagnation": "no_learning",
    },
    "gradsnitch": {
        "Loss became NaN/Inf": "nan",
        "Gradient norm exploded (inf)": "nan",
        "Gradient-norm spike": "gradspike",
        "Train/val divergence (overfitting)": "overfit",
        "Loss plateau (no early progress)": "no_learning",
        "Loss divergence (sustained rise)": "divergence",
        "Loss oscillation (growing amplitude)": "spike",
        "LR schedule collapsed early": "lr",
        "Vanishing gradients": "vanishing",
    },
    "trainspotter": {
        "Diverged (non-finite values)": "nan",
        "Diverged (sustained growth)": "divergence",
        "Gradient-norm explosion": "gradspike",
        "LR increased after its peak": "lr",
        "LR discontinuity": "lr",
        "Overfitting onset": "overfit",
        "Plateau": "no_learning",
        "Loss spike": "spike",
    },
    "runmedic": {
        "non_finite": "nan",
        "divergence": "divergence",
        "loss_spikes": "spike",
        "no_learning": "no_learning",
        "overfitting": "overfit",
        "grad_spikes": "gradspike",
    },
    "trainproof": {
        "TP-NAN": "nan",
        "TP-NAN-GRAD": "nan",
        "TP-DIVERGE": "divergence",
        "TP-FLAT": "no_learning",
        "TP-DEAD-RUN": "no_learning",
        "TP-GRAD-SPIKE": "gradspike",
        "TP-OVERFIT": "overfit",
        "TP-ZERO-LR": "lr",
        "TP-ZERO-LR-PARTIAL": "lr",
        "TP-ZERO-GRAD": "vanishing",
    },
}
"""Tool → its name of a finding → class; findings of other kinds count as warned, of no class."""

Found = list[tuple[str, str]]


def losslint(path: Path) -> Found:
    from losslint.checks import run_all_checks  # type: ignore[import-not-found]
    from losslint.parsing import load_run  # type: ignore[import-not-found]

    return [(one.check, str(one.severity)) for one in run_all_checks(load_run(path))]


def gradsnitch(path: Path) -> Found:
    import pandas as pd  # type: ignore[import-untyped]
    from gradsnitch import lint  # type: ignore[import-not-found]

    rows = [json.loads(line) for line in path.read_text().splitlines()]
    frame = pd.DataFrame(rows).rename(columns={"loss": "train_loss", "eval_loss": "val_loss", "learning_rate": "lr"})
    return [(one.name, one.severity) for one in lint(frame.astype(float))]


def trainspotter(path: Path) -> Found:
    from trainspotter.detectors import run_all  # type: ignore[import-not-found]
    from trainspotter.readers import load_run  # type: ignore[import-not-found]

    found = run_all(load_run(str(path), fmt="jsonl"))
    return [(one.title, str(getattr(one.severity, "value", one.severity))) for one in found]


def runmedic(path: Path) -> Found:
    from runmedic import loaders, roles  # type: ignore[import-not-found]
    from runmedic.checks import run_checks  # type: ignore[import-not-found]

    return [
        (one.check, one.severity) for run in loaders.load(str(path)) for one in run_checks(run, roles.detect(run, {}))
    ]


def trainproof(path: Path) -> Found:
    from trainproof.epoch import check_epoch  # type: ignore[import-not-found]

    levels = {"FAIL": "error", "WARN": "warning"}
    return [(one["id"], levels.get(one["level"], "info")) for one in check_epoch(path, "jsonl")["findings"]]


def classes(tool: str, path: Path) -> list[str]:
    """Classes warned of; `failed` where the tool broke on the log."""
    run: Callable[[Path], Found] = {
        "losslint": losslint,
        "gradsnitch": gradsnitch,
        "trainspotter": trainspotter,
        "runmedic": runmedic,
        "trainproof": trainproof,
    }[tool]
    try:
        found = run(path)
    except Exception as error:
        print(f"{tool} failed on {path.name}: {error}", file=sys.stderr)
        return ["failed"]
    return sorted({CLASSES[tool].get(name, "other") for name, severity in found if severity.lower() != "info"})


def main() -> int:
    tool, folder = sys.argv[1], Path(sys.argv[2])
    answer: dict[str, Any] = {path.stem: classes(tool, path) for path in sorted(folder.glob("*.jsonl"))}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())

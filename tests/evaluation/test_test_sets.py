"""`evaluate_run`: the best model on data that had no part in the training, and what is needed to believe it."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from scoring_bench import accepted, refused


@pytest.fixture(scope="module")
def lab(hall: Any, digits_csv: bytes) -> Any:
    """A project whose digits are divided into train.csv and test.csv, and a run that has ended; the chat on it."""
    project = hall.make("lab")
    rows = list(csv.reader(io.StringIO(digits_csv.decode())))
    _write(project.path / "train.csv", [rows[0], *rows[1:1301]])
    _write(project.path / "test.csv", [rows[0], *rows[1301:]])
    _write(project.path / "half.csv", [rows[0], *rows[1:301], *rows[1301:]])
    _write(project.path / "few.csv", [rows[0], *rows[1:4], *rows[1301:]])
    (project.path / "digits.csv").unlink()
    chat = hall.connect(project)
    chat.accepted("choose_logging", backends=["file"])
    chat.accepted("check_validation", split=0.2, train_data="train.csv")
    proposal = chat.accepted("propose_config", changes={"epochs": 8, "learning_rate": 0.003})
    chat.accepted("start_run", digest=proposal.facts["digest"])
    while (seen := chat("poll_status", wait_seconds=20)).facts["state"] not in ("succeeded", "failed"):
        pass
    assert seen.facts["state"] == "succeeded", seen.text
    return chat


def _write(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_a_held_out_set_gives_figures_with_intervals_once(lab: Any) -> None:
    reply = accepted(lab, "test.csv")
    facts, run = reply.facts, reply.facts["run"]
    assert facts["samples"] == 497 and 0.85 < facts["metrics"]["accuracy"] <= 1.0
    p, n = facts["metrics"]["accuracy"], 497
    low, high = _wilson(p, n)
    found = facts["intervals"]["accuracy"]
    assert found == {"low": pytest.approx(low, 1e-4), "high": pytest.approx(high, 1e-4), "method": found["method"]}
    assert found["method"] == "Wilson score interval, 497 answers"
    assert facts["intervals"]["loss"]["low"] < facts["loss"] < facts["intervals"]["loss"]["high"]
    assert facts["overlap"] == {"training": 0, "validation": 0} and facts["looks"] == 1
    assert "None of the test samples stands in the training or the validation part." in reply.text
    assert "First look at this test set in this project." in reply.text
    before = _validation(lab.project / "runs" / run)
    assert f"Validation gave accuracy {before:.4g} at this checkpoint" in reply.text
    assert ("at this checkpoint, outside this interval" in reply.text) is not (low <= before <= high)

    again = accepted(lab, "test.csv")
    assert again.facts["new"] is False and again.facts["evaluation"] == facts["evaluation"]
    assert [again.facts[key] for key in ("loss", "metrics")] == [facts[key] for key in ("loss", "metrics")]
    kept = lab.project / "runs" / run / "evaluations"
    assert sorted(path.name for path in kept.glob("*.json")) == ["001.json", "001.request.json"]
    summary = lab.accepted("summarize")
    assert summary.facts["tests"][0]["samples"] == 497
    assert "Test: accuracy 0." in summary.text and "on test.csv, 497 samples, checkpoint-" in summary.text
    assert "Wilson score interval" in (lab.project / "runs" / run / "report.md").read_text()


def test_the_same_content_under_another_name_is_another_look(lab: Any) -> None:
    accepted(lab, "test.csv")
    (lab.project / "other.csv").write_bytes((lab.project / "test.csv").read_bytes())
    run = lab("list_runs").facts["runs"][0]["run"]
    folder = lab.project / "runs" / run / "evaluations"
    first = json.loads((folder / "001.json").read_text())
    moved = {**first, "request": {**first["request"], "step": 1}}  # as if an earlier model had been scored on it
    (folder / "001.json").write_text(json.dumps(moved))
    try:
        reply = accepted(lab, "other.csv")
    finally:
        (folder / "001.json").write_text(json.dumps(first))
    assert reply.facts["looks"] == 2
    assert f"Look 2 at this test set in this project (before: {run}/1)." in reply.text


def test_what_was_trained_or_validated_on_is_refused(lab: Any) -> None:
    words = refused(lab, "train.csv")
    assert words.startswith("train.csv is what the run was trained on (train.csv).")
    (lab.project / "copy.csv").write_bytes((lab.project / "train.csv").read_bytes())
    assert "copy.csv is what the run was trained on" in refused(lab, "copy.csv")
    words = refused(lab, "missing.csv")
    assert "'missing.csv' does not exist" in words
    assert "lies outside the project" in refused(lab, "../elsewhere.csv")


def test_a_set_that_overlaps_is_told_with_numbers_and_refused_when_it_is_mostly_so(lab: Any) -> None:
    reply = accepted(lab, "few.csv")
    assert sum(reply.facts["overlap"].values()) == 3
    assert "of 500 test samples" in reply.text and "The result is better than it would be on new data" in reply.text
    rows = (lab.project / "train.csv").read_text().splitlines()
    (lab.project / "mostly.csv").write_text("\n".join(rows[:700]) + "\n")
    words = refused(lab, "mostly.csv")
    assert words.startswith("mostly.csv was not held out: ") and "of 699 test samples" in words


def test_a_set_that_does_not_fit_is_refused_in_words(lab: Any) -> None:
    text = (lab.project / "test.csv").read_text().splitlines()
    (lab.project / "columns.csv").write_text("\n".join(line.split(",", 1)[1] for line in text) + "\n")
    assert "lacks the column 'p0'" in refused(lab, "columns.csv")
    (lab.project / "classes.csv").write_text("\n".join([text[0], *(f"{line}0" for line in text[1:])]) + "\n")
    assert "unknown class" in refused(lab, "classes.csv")


def _validation(run: Path) -> float:
    """The accuracy that was recorded when the best checkpoint was validated."""
    rows = [json.loads(line) for line in (run / "attempts" / "001" / "stream.jsonl").read_text().splitlines()]
    best = [row for row in rows if row["kind"] == "checkpoint" and row["best"]][-1]
    return float(best["metrics"]["accuracy"])


def _wilson(p: float, n: int) -> tuple[float, float]:
    """By the roots of (p − q)² = z² q (1 − q) / n, another way to the same interval."""
    z = 1.959964
    a, b, c = 1 + z * z / n, -(2 * p + z * z / n), p * p
    root = math.sqrt(b * b - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)

"""Inputs that give the target away, and cells that say nothing; sound tables raise no alarm."""

from __future__ import annotations

import numpy as np
import pytest
from data_files import Files, found
from sklearn import datasets

from stationmaster_trainer.dataset import Data
from stationmaster_trainer.facts import SplitFacts

RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=(400, 3))
LABELS = RNG.permutation(["x", "y"] * 200)
ALARMS = ("leak", "groups", "time", "filler", "empty_rows", "overlap", "near_overlap", "near_duplicates", "rare_class")


def alarms(facts: SplitFacts | Data) -> list[str]:
    return [finding.message for finding in facts.findings if finding.check in ALARMS]


def table(files: Files, name: str = "t.csv", **more: object) -> str:
    return files.table(name, a=NOISE[:, 0], b=NOISE[:, 1], **more)


@pytest.mark.parametrize("name", ["breast_cancer", "diabetes", "wine", "digits"])
def test_sound_tables_are_silent(files: Files, name: str) -> None:
    getattr(datasets, f"load_{name}")(as_frame=True).frame.to_csv(files.path / "t.csv", index=False)
    facts = files.facts("t.csv")
    assert alarms(facts) == []
    assert {finding.check for finding in facts.findings if finding.severity == "warning"} <= {"small_validation"}


def test_each_value_with_one_class_gives_the_target_away(files: Files) -> None:
    code = np.where(LABELS == "x", RNG.integers(0, 8, 400) * 2, RNG.integers(0, 8, 400) * 2 + 1)
    (leak,) = found(files.facts(table(files, code=code, label=LABELS)), "leak")
    assert "each of the 16 values of the input 'code'" in leak.message
    code[:60:6] += 1
    assert not found(files.facts(table(files, code=code, label=LABELS)), "leak")


def test_a_number_that_separates_the_classes_gives_them_away(files: Files) -> None:
    score = np.where(LABELS == "x", 1, -1) * (0.1 + np.abs(NOISE[:, 2]))
    (leak,) = found(files.facts(table(files, score=score, label=LABELS)), "leak")
    assert "alone separates the classes" in leak.message and leak.facts == {"column": "score"}


def test_a_total_beside_its_parts_is_a_leak(files: Files) -> None:
    (leak,) = found(files.facts(table(files, noise=NOISE[:, 2], count=NOISE[:, 0] + NOISE[:, 1])), "leak")
    assert "'count' is the sum (or difference) of the inputs 'a', 'b'" in leak.message


def test_a_column_in_the_order_of_the_target_is_a_leak(files: Files) -> None:
    (leak,) = found(files.facts(table(files, rank=np.exp(NOISE[:, 2]), price=NOISE[:, 2])), "leak")
    assert "exactly the order" in leak.message and leak.facts == {"column": "rank"}


def test_a_mark_for_unknown_and_rows_without_a_cell_are_told(files: Files) -> None:
    weight = np.where(np.arange(400) % 40 == 3, -999.0, 60 + 9 * NOISE[:, 2])
    (filler,) = found(files.facts(table(files, weight=weight, label=LABELS), "none"), "filler")
    assert filler.facts == {"column": "weight", "value": -999.0} and "in 10 rows" in filler.message
    cells = [None if at == 5 else value for at, value in enumerate(NOISE[:, 0])]
    facts = files.facts(files.table("u.csv", a=cells, b=cells, label=LABELS), "none", missing_values="mean")
    assert "1 training rows have no value in any input (row 6)" in found(facts, "empty_rows")[0].message


def test_constant_inputs_are_named(files: Files) -> None:
    (finding,) = found(files.facts(table(files, fixed=[7] * 400, label=LABELS)), "constant")
    assert finding.severity == "info" and "'fixed'" in finding.message

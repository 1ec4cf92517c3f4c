"""Rows that belong together: groups and times on both sides of a split, and the split by time."""

from __future__ import annotations

import numpy as np
import pytest
from data_files import Files, everything, found
from hypothesis import given, settings
from hypothesis import strategies as st

from stationmaster_trainer import split

LABELS = ["x", "y"] * 60


def size(n: int = 120, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n)


@pytest.mark.parametrize("name", ["patient_id", "user", "sessionId", "document_id", "filename", "Speaker", "shop_id"])
def test_names_of_groups_whose_rows_land_on_both_sides_are_a_warning(files: Files, name: str) -> None:
    file = files.table("t.csv", **{name: [f"g{at}" for at in np.arange(120) // 4]}, size=size(), label=LABELS)
    (finding,) = found(files.facts(file), "groups")
    assert finding.severity == ("info" if name == "shop_id" else "warning")
    assert finding.facts["values"] == 30 and finding.facts["share"] > 0.9 and repr(name) in finding.advice
    assert not found(files.facts(file, group_column=name), "groups")


def test_groups_in_two_files_are_seen_without_being_named(files: Files) -> None:
    files.table("t.csv", patient=np.arange(120) // 4, size=size(), label=LABELS)
    files.table("v.csv", patient=np.arange(40) // 4 + 28, size=size(40, 1), label=LABELS[:40])
    (finding,) = found(files.facts("t.csv", "v.csv"), "groups")
    assert finding.facts["share"] == 0.2 and "20% of the validation rows" in finding.message
    files.table("w.csv", patient=np.arange(40) // 4 + 90, size=size(40, 1), label=LABELS[:40])
    assert not found(files.facts("t.csv", "w.csv"), "groups")


def test_few_values_and_other_names_are_no_groups(files: Files) -> None:
    file = files.table("t.csv", color_id=np.arange(120) % 3, age=np.arange(120) // 4, size=size(), label=LABELS)
    assert not found(files.facts(file), "groups")


def test_a_random_split_over_time_is_a_warning_and_time_column_the_way_out(files: Files) -> None:
    days = np.array("2024-01-01", dtype="datetime64[D]") + np.random.default_rng(0).permutation(120)
    file = files.table("t.csv", day=days.astype(str), size=size(), label=LABELS)
    (finding,) = found(files.facts(file), "time")
    assert finding.severity == "warning" and "set time_column to 'day'" in finding.advice
    facts = files.facts(file, time_column="day")
    assert not found(facts, "time") and facts.method == "80/20 split by time: the newest rows by day validate"
    data = files.load(file, "split", time_column="day")
    assert data.val is not None and len(data.val) == 24
    assert days[data.val.rows - 1].min() > days[data.train.rows - 1].max()


def test_numbers_named_like_times_are_times_and_birthdays_are_none(files: Files) -> None:
    stamps = 1_700_000_000 + 3600 * np.arange(120)
    born = (np.array("1970-01-01", dtype="datetime64[D]") + np.arange(120) * 77 % 9000).astype(str)
    file = files.table("t.csv", timestamp=stamps, birth_date=born, time=np.arange(120), size=size(), label=LABELS)
    (finding,) = found(files.facts(file), "time")
    assert finding.facts["column"] == "timestamp"
    parts = files.load(file, "split", time_column="timestamp")
    assert everything(parts.train)[0].shape[1] == 1, "the time is no input"


def test_a_validation_file_older_than_the_training_is_said(files: Files) -> None:
    days = (np.array("2024-01-01", dtype="datetime64[D]") + np.arange(160)).astype(str)
    files.table("t.csv", day=days[40:], size=size(), label=LABELS)
    files.table("v.csv", day=days[:40], size=size(40, 1), label=LABELS[:40])
    (finding,) = found(files.facts("t.csv", "v.csv"), "time")
    assert finding.severity == "info" and finding.message.startswith("100% of the training rows are later")


def test_a_time_that_cannot_divide_is_refused(files: Files) -> None:
    day = ["2024-01-01"] * 119
    error = files.refused(files.table("t.csv", day=[*day, None], size=size(), label=LABELS), "split", time_column="day")
    assert "has no time in 1 of 120 rows" in error.message
    error = files.refused(
        files.table("u.csv", day=[*day, day[0]], size=size(), label=LABELS), "split", time_column="day"
    )
    assert "one moment only" in error.message
    assert "exclude each other" in files.refused("u.csv", "split", time_column="day", group_column="label").message
    assert "has no time column 'when'" in files.refused("u.csv", "split", time_column="when").message


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=2, max_size=60), st.floats(0.05, 0.9))
def test_by_time_every_row_of_validation_is_newer(moments: list[int], fraction: float) -> None:
    values = np.array(moments, dtype=np.float64)
    if len(set(moments)) < 2:
        return
    parts = split.by_time(values, fraction, "the column")
    assert sorted([*parts.train.tolist(), *parts.val.tolist()]) == list(range(len(moments)))
    assert values[parts.train].max() < values[parts.val].min()

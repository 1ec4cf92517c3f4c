"""The split: complete, disjoint, seeded, stratified, grouped."""

from __future__ import annotations

import numpy as np
import pytest
from data_files import Files
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stationmaster_trainer import split
from stationmaster_trainer.errors import DataError

FRACTIONS = st.floats(0.05, 0.6)
SEEDS = st.integers(0, 2**32)


def whole(parts: split.Split, n: int) -> bool:
    """Every row once, both parts sorted and not empty."""
    both = np.concatenate((parts.train, parts.val))
    ordered = all((np.diff(part) > 0).all() for part in (parts.train, parts.val))
    return sorted(both.tolist()) == list(range(n)) and ordered and len(parts.val) > 0 and len(parts.train) > 0


@given(n=st.integers(2, 300), fraction=FRACTIONS, seed=SEEDS)
def test_a_plain_split_holds_out_the_share_asked_for(n: int, fraction: float, seed: int) -> None:
    parts = split.divide(n, fraction=fraction, seed=seed)
    assert whole(parts, n)
    assert len(parts.val) == min(max(1, round(fraction * n)), n - 1)
    again = split.divide(n, fraction=fraction, seed=seed)
    assert (again.val == parts.val).all()


@given(classes=st.lists(st.integers(0, 4), min_size=4, max_size=200), fraction=FRACTIONS, seed=SEEDS)
def test_a_stratified_split_has_every_class_of_two_rows_on_both_sides(
    classes: list[int], fraction: float, seed: int
) -> None:
    labels = np.array(classes)
    counts = np.bincount(labels)
    assume((counts >= 2).any())
    parts = split.divide(len(labels), fraction=fraction, seed=seed, classes=labels)
    assert whole(parts, len(labels))
    held = np.bincount(labels[parts.val], minlength=len(counts))
    for count, out in zip(counts.tolist(), held.tolist(), strict=True):
        if count == 1:
            assert out == 0  # the only row of a class is for learning
        elif count:
            assert 1 <= out <= count - 1
            assert abs(out - fraction * count) <= 1.0


@given(sizes=st.lists(st.integers(1, 12), min_size=2, max_size=40), fraction=FRACTIONS, seed=SEEDS, mixed=st.booleans())
@settings(max_examples=60)
def test_groups_never_cross_and_the_share_is_near(sizes: list[int], fraction: float, seed: int, mixed: bool) -> None:
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    classes = groups % 3 if mixed else None
    parts = split.divide(len(groups), fraction=fraction, seed=seed, classes=classes, groups=groups)
    assert whole(parts, len(groups))
    assert not set(groups[parts.train].tolist()) & set(groups[parts.val].tolist())
    if not mixed:
        assert abs(len(parts.val) - fraction * len(groups)) <= max(sizes)


def test_a_grouped_split_balances_the_classes() -> None:
    groups = np.repeat(np.arange(60), 5)
    classes = np.repeat(np.arange(60) % 3, 5)
    parts = split.divide(300, fraction=0.2, seed=1, classes=classes, groups=groups)
    shares = np.bincount(classes[parts.val]) / len(parts.val)
    assert np.abs(shares - 1 / 3).max() <= 0.1


def test_rows_without_a_group_stand_for_themselves() -> None:
    parts = split.divide(20, fraction=0.25, seed=0, groups=np.array([0] * 10 + [-1] * 10))
    assert whole(parts, 20) and (parts.val >= 10).all() and len(parts.val) == 5


def test_a_million_rows_are_divided_in_seconds() -> None:
    classes = np.arange(1_000_000) % 10
    parts = split.divide(1_000_000, fraction=0.2, seed=0, classes=classes)
    assert (np.bincount(classes[parts.val]) == 20_000).all()


def test_seeds_give_different_splits() -> None:
    seen = {split.divide(100, fraction=0.2, seed=seed).val.tobytes() for seed in range(20)}
    assert len(seen) == 20


@pytest.mark.parametrize(
    ("n", "groups", "said"), [(1, None, "1 row cannot be divided"), (4, [7, 7, 7, 7], "one value only")]
)
def test_what_cannot_be_divided_is_refused(n: int, groups: list[int] | None, said: str) -> None:
    with pytest.raises(DataError, match=said):
        split.divide(n, fraction=0.2, seed=0, groups=None if groups is None else np.array(groups))


def test_one_sample_per_class_leaves_nothing_to_validate(files: Files) -> None:
    name = files.table("t.csv", size=[1.0, 2.5], label=["x", "y"])
    assert "no validation part" in files.refused(name, "split").message


def test_the_same_configuration_divides_a_file_in_the_same_way_in_every_format(files: Files) -> None:
    columns = {"size": np.arange(50.0) ** 2, "label": ["x", "y"] * 25}
    rows = [files.load(files.table(name, **columns), "split", seed=7) for name in ("t.csv", "t.parquet", "t.jsonl")]
    assert len({data.train.rows.tobytes() for data in rows}) == 1
    assert rows[0].method == "80/20 split, seed 7, stratified by label"
    other = files.load("t.csv", "split", seed=8)
    assert other.train.rows.tobytes() != rows[0].train.rows.tobytes()


def test_groups_named_in_the_configuration_never_cross(files: Files) -> None:
    rng = np.random.default_rng(0)
    owners = rng.permutation(np.repeat([f"owner {index}" for index in range(20)], 5))
    name = files.table("t.csv", size=rng.normal(size=100), owner=owners, label=["x", "y"] * 50)
    data = files.load(name, "split", group_column="owner")
    assert data.val is not None
    assert not set(owners[data.train.rows - 1]) & set(owners[data.val.rows - 1])
    assert data.method == "80/20 split, seed 42, grouped by owner, balanced by label"


def test_text_is_divided_at_one_place(files: Files) -> None:
    text = "".join(chr(97 + index % 26) for index in range(1000))
    data = files.load(files.write("t.txt", text), "split", sequence_length=10, val_fraction=0.25)
    assert data.val is not None and (len(data.train), len(data.val)) == (74, 24)
    assert data.preprocessing.decode(data.val.batch(np.array([0]))[0][0]) == text[750:760]

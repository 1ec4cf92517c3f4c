"""Nearly equal samples are found by hashing, and sound data raise no alarm."""

from __future__ import annotations

import numpy as np
import pytest
from data_files import Files, found
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import datasets

from stationmaster_trainer import near, shingles

SOUND = ("breast_cancer", "digits", "wine", "iris", "diabetes")
WORDS = st.lists(st.sampled_from([f"word{at}" for at in range(400)]), min_size=0, max_size=40)


def real(name: str) -> np.ndarray:
    return np.asarray(getattr(datasets, f"load_{name}")().data, dtype=np.float32)


@pytest.mark.parametrize("name", SOUND)
def test_sound_tables_have_no_near_copies(name: str) -> None:
    assert (near.twins(near.vectors(real(name))) < 0).all()


@pytest.mark.parametrize("name", SOUND)
def test_rounded_and_shaken_rows_are_found_with_their_origin(name: str) -> None:
    rows, rng = real(name), np.random.default_rng(0)
    few = rng.choice(len(rows), len(rows) // 10, replace=False)
    shaken = rows[few] + 0.003 * rows.std(axis=0) * rng.normal(size=(len(few), rows.shape[1]))
    twins = near.twins(near.vectors(rows, shaken.astype(np.float32)))
    assert np.mean(twins[len(rows) :] == few) > 0.9 and (twins[: len(rows)] < 0).all()


@pytest.mark.parametrize("width", [1, 2, 3])
def test_neighbours_that_few_dimensions_explain_are_no_copies(width: int) -> None:
    rows = np.random.default_rng(0).normal(size=(5000, width)).astype(np.float32)
    assert near.coincidence(near.vectors(rows), near.RADIUS) > 1
    assert (near.twins(near.vectors(rows)) < 0).all()


def test_counts_and_constant_columns_raise_no_alarm() -> None:
    rng = np.random.default_rng(0)
    rows = np.column_stack((rng.poisson(2, (3000, 5)), np.ones(3000))).astype(np.float32)
    assert (near.twins(near.vectors(rows)) < 0).all()
    assert (near.twins(near.vectors(np.ones((50, 3), dtype=np.float32))) < 0).all()


@settings(max_examples=40, deadline=None)
@given(WORDS, st.sampled_from([" ", "  ", "\n", ", "]), st.booleans())
def test_case_and_spaces_do_not_change_a_sketch(words: list[str], between: str, upper: bool) -> None:
    written = between.join(words)
    found = shingles.sketches([" ".join(words), written.upper() if upper else written])
    assert found.whole[0] == found.whole[1] and (found.minima[0] == found.minima[1]).all()
    assert found.words.tolist() == [len(words)] * 2


@settings(max_examples=12, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=5))
def test_a_sketch_depends_on_its_own_text_alone(texts: list[str]) -> None:
    together = shingles.sketches(texts)
    assert len(together) == len(texts)
    for at, text in enumerate(texts):
        alone = shingles.sketches([text])
        assert alone.whole[0] == together.whole[at] and alone.words[0] == together.words[at]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([f"word{at}" for at in range(900)]), min_size=60, max_size=90, unique=True))
def test_one_changed_word_of_many_is_near_and_a_shuffled_text_is_not(words: list[str]) -> None:
    changed = [*words[:-1], "another"]
    found = shingles.twins(shingles.sketches([" ".join(words), " ".join(changed), " ".join(words[::-1])]))
    assert found.tolist() == [-1, 0, -1]


def test_texts_without_spaces_between_words_are_compared_by_their_characters() -> None:
    text = "春眠不覚暁処処聞啼鳥夜来風雨声花落知多少床前看月光疑是地上霜挙頭望山月低頭思故郷"
    found = shingles.twins(shingles.sketches([text, text[:-1] + "里", text[::-1], "", "!?", ""]))
    assert found.tolist() == [-1, 0, -1, -1, -1, -1]


def test_near_copies_across_the_parts_are_a_warning_with_examples(files: Files) -> None:
    frame = datasets.load_breast_cancer(as_frame=True).frame
    frame.iloc[:450].to_csv(files.path / "t.csv", index=False)
    other = frame.iloc[400:].copy()
    other.iloc[:, :-1] *= 1.0001
    other.to_csv(files.path / "v.csv", index=False)
    facts = files.facts("t.csv", "v.csv")
    (finding,) = found(facts, "near_overlap")
    assert finding.severity == "warning" and "50 of 169 validation samples" in finding.message
    assert finding.facts["examples"][0] == ["val", 1, "train", 401] and facts.overlap == 0
    assert not found(files.facts("t.csv"), "near_overlap")


def test_near_copies_inside_the_training_part_are_said(files: Files) -> None:
    x = np.random.default_rng(0).normal(size=(200, 8))
    rows = np.concatenate((x, x[:9] + 1e-4))
    name = files.table("t.csv", **{f"f{at}": rows[:, at] for at in range(8)}, label=["a", "b"] * 104 + ["a"])
    (finding,) = found(files.facts(name, "none"), "near_duplicates")
    assert finding.severity == "info" and "9 of 209 training samples" in finding.message

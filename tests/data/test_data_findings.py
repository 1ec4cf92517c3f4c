"""What is shown about the validation decision before the start."""

from __future__ import annotations

import numpy as np
import pytest
from data_files import Files, found
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits


def test_digits_are_counted_on_both_sides_without_overlap(files: Files) -> None:
    digits = load_digits()
    facts = files.facts(files.arrays("digits.npz", x=digits.images, y=digits.target))
    assert (facts.train_samples, facts.val_samples, facts.overlap) == (1438, 359, 0)
    assert facts.method == "80/20 split, seed 42, stratified by y" and facts.sample_shape == (8, 8)
    counts = np.bincount(digits.target)
    for index, name in enumerate(facts.classes):
        assert facts.train_counts[name] + facts.val_counts[name] == counts[index]
        assert abs(facts.val_counts[name] - counts[index] / 5) <= 1
    assert not [finding for finding in facts.findings if finding.severity != "info"]
    assert "under 5 points (3 near 90 %) are noise" in found(facts, "small_validation")[0].message


def test_a_small_validation_part_says_how_much_is_noise(files: Files) -> None:
    load_breast_cancer(as_frame=True).frame.head(180).to_csv(files.path / "t.csv", index=False)
    (finding,) = found(files.facts("t.csv"), "small_validation")
    assert finding.severity == "warning"
    assert (
        finding.message == "with 36 validation samples, accuracy differences under 16 points (10 near 90 %) are noise."
    )


def test_copied_rows_are_an_overlap_with_their_numbers(files: Files) -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(100, 3)), rng.permutation(["x", "y"] * 50)
    train = {f"f{index}": x[:, index] for index in range(3)}
    files.table("t.csv", id=range(100), **train, label=labels)
    copied = {name: np.concatenate((column[:7], column[:3] + 1)) for name, column in train.items()}
    files.table("v.csv", id=range(500, 510), **copied, label=labels[[*range(7), 0, 1, 2]])
    facts = files.facts("t.csv", "v.csv")
    (finding,) = found(facts, "overlap")
    assert facts.overlap == 7 and finding.severity == "warning"
    assert "7 of 10 validation samples (70.0%)" in finding.message and "rows 1, 2, 3, 4, 5, …" in finding.message


def test_duplicates_within_the_training_part_are_said(files: Files) -> None:
    x = np.random.default_rng(0).normal(size=60)
    name = files.table("t.csv", a=np.concatenate((x, x[:6])), b=np.concatenate((x, x[:6])) ** 2, label=["x", "y"] * 33)
    facts = files.facts(name, "none")
    assert "6 of 66 training samples" in found(facts, "duplicates")[0].message
    assert (facts.val_samples, facts.method, facts.overlap) == (0, "none (waived)", 0)


def test_inputs_with_two_classes_are_a_contradiction(files: Files) -> None:
    x = np.random.default_rng(0).normal(size=60)
    name = files.table("t.csv", a=np.concatenate((x, x[:5])), label=["x"] * 60 + ["y"] * 5)
    assert (
        "5 training inputs occur with more than one class"
        in found(files.facts(name, "none"), "contradiction")[0].message
    )


def test_copied_images_overlap_by_their_content(files: Files) -> None:
    pictures = list(np.random.default_rng(0).integers(0, 256, (8, 4, 4)))
    files.images("train", cat=pictures[:3], dog=pictures[3:6])
    files.images("val", cat=[pictures[0], pictures[6]], dog=[pictures[3]])
    assert files.facts("train", "val").overlap == 2


def test_a_repeated_passage_of_text_overlaps_wherever_it_stands(files: Files) -> None:
    rng = np.random.default_rng(0)
    letters = [chr(97 + code) for code in rng.integers(0, 26, 3000).tolist()]
    train, fresh = "".join(letters[:2000]), "".join(letters[2000:])
    files.write("t.txt", train)
    files.write("v.txt", train[333 : 333 + 170] + fresh)
    facts = files.facts("t.txt", "v.txt", sequence_length=17)
    assert facts.overlap == 10 and found(facts, "overlap")[0].severity == "warning"
    assert files.facts("t.txt", files.write("w.txt", fresh), sequence_length=17).overlap == 0


@pytest.mark.parametrize("side", ["train", "val"])
def test_a_class_on_one_side_only_is_a_warning(files: Files, side: str) -> None:
    x = np.random.default_rng(0).normal(size=40)
    rich, poor = ["a", "b", "c", "b"] * 10, ["a", "b"] * 20
    files.table("t.csv", size=x, label=rich if side == "train" else poor)
    files.table("v.csv", size=x + 9, label=poor if side == "train" else rich)
    facts = files.facts("t.csv", "v.csv")
    (finding,) = found(facts, "class_missing")
    assert finding.severity == "warning" and "'c'" in finding.message
    assert facts.classes == ("a", "b", "c")


def test_a_class_with_a_single_row_is_named(files: Files) -> None:
    x = np.random.default_rng(0).normal(size=41)
    (finding,) = found(files.facts(files.table("t.csv", size=x, label=["a", "b"] * 20 + ["rare"])), "class_missing")
    assert finding.facts == {"val": ["rare"]}


def test_classes_that_differ_only_in_case_or_spaces_are_named(files: Files) -> None:
    x = np.random.default_rng(0).normal(size=60)
    (finding,) = found(files.facts(files.table("t.csv", size=x, label=["cat", "Cat", "dog"] * 20)), "classes_alike")
    assert "'Cat', 'cat'" in finding.message


def test_the_largest_class_is_the_accuracy_to_beat(files: Files) -> None:
    x = np.random.default_rng(0).normal(size=200)
    even = files.facts(files.table("t.csv", size=x, label=["a", "a", "a", "b"] * 50))
    (baseline,) = found(even, "baseline")
    assert baseline.severity == "info" and "always answering 'a' is right on 75.0%" in baseline.message
    uneven = files.facts(files.table("u.csv", size=x, label=["a"] * 190 + ["b"] * 10))
    (imbalance,) = found(uneven, "imbalance")
    assert imbalance.severity == "warning" and "95.0% of the training samples are 'a', 8 are 'b'" in imbalance.message


def test_groups_in_both_files_are_a_warning(files: Files) -> None:
    rng = np.random.default_rng(0)
    files.table("t.csv", size=rng.normal(size=40), who=np.arange(40) // 4, label=["x", "y"] * 20)
    files.table("v.csv", size=rng.normal(size=20), who=np.arange(20) // 4 + 8, label=["x", "y"] * 10)
    (finding,) = found(files.facts("t.csv", "v.csv", group_column="who"), "group_overlap")
    assert "2 of 5 groups of 'who' in v.csv also stand in t.csv" in finding.message


def test_few_samples_and_unscaled_regression_are_said(files: Files) -> None:
    rng = np.random.default_rng(0)
    facts = files.facts(files.table("t.csv", size=rng.normal(size=30), price=rng.normal(size=30)))
    assert "24 training samples are few" in found(facts, "few_samples")[0].message
    assert (
        "with 6 validation samples, differences of the mean squared error under"
        in found(facts, "small_validation")[0].message
    )


def test_the_worst_findings_come_first(files: Files) -> None:
    rng = np.random.default_rng(0)
    facts = files.facts(files.table("t.csv", size=rng.normal(size=30), fixed=[1] * 30, label=["x", "y"] * 15))
    order = ["error", "warning", "info"]
    ranks = [order.index(finding.severity) for finding in facts.findings]
    assert ranks == sorted(ranks) and len(set(ranks)) == 2


def test_classes_with_few_samples_are_counted(files: Files) -> None:
    x = np.random.default_rng(0).normal(size=130)
    facts = files.facts(files.table("t.csv", size=x, label=["a", "b"] * 60 + ["c"] * 10))
    (rare,) = found(facts, "rare_class")
    assert (rare.severity, rare.facts) == ("warning", {"train": {"c": 8}}) and "'c' (8)" in rare.message
    (held,) = found(files.facts(files.table("u.csv", size=x, label=["a", "b"] * 50 + ["c"] * 30)), "rare_class")
    assert (held.severity, held.facts) == ("info", {"val": {"c": 6}})


def test_a_mean_error_has_its_noise_in_percent(files: Files) -> None:
    load_diabetes(as_frame=True).frame.to_csv(files.path / "t.csv", index=False)
    (finding,) = found(files.facts("t.csv"), "small_validation")
    assert finding.severity == "warning" and "with 88 validation samples" in finding.message
    assert 15 < finding.facts["percent"] < 40, "√(2/88) · 1.96 is 30 % for normal errors"


def test_a_language_model_is_told_its_noise_and_what_frequencies_score(files: Files) -> None:
    letters = np.random.default_rng(0).choice(list("etaoin "), 40_000)
    (finding,) = found(files.facts(files.write("t.txt", "".join(letters)), sequence_length=100), "small_validation")
    assert finding.severity == "info" and abs(finding.facts["baseline"] - np.log(7)) < 0.02
    assert finding.facts["nats"] < 0.02

"""Target, task and inputs are inferred, each with its reason; the configuration has the last word."""

from __future__ import annotations

import numpy as np
import pytest
from data_files import Files, everything, found


@pytest.mark.parametrize(
    ("target", "task", "why"),
    [
        (["cat", "dog"] * 100, "classification", "2 different texts"),
        ([True, False] * 100, "classification", "true or false"),
        ([0, 1, 2, 3] * 50, "classification", "4 different whole numbers in 200 rows"),
        ([1.0, 2.0] * 100, "classification", "2 different whole numbers"),
        ([index / 7 for index in range(200)], "regression", "200 different numbers with fractions"),
        ([0.5, 1.5] * 100, "regression", "2 different numbers with fractions"),
        (list(range(100, 300)), "regression", "200 different whole numbers"),
        ([index % 21 for index in range(200)], "regression", "21 different whole numbers"),
    ],
)
def test_the_task_follows_from_the_target_and_says_why(files: Files, target: list[object], task: str, why: str) -> None:
    name = files.table("t.csv", size=np.random.default_rng(0).normal(size=200), goal=target)
    data = files.load(name)
    assert (data.task, data.target, data.target_why) == (task, "goal", "the last column")
    assert why in data.task_why


def test_whole_numbers_in_a_column_called_label_are_classes_even_when_many(files: Files) -> None:
    sizes = np.random.default_rng(0).normal(size=400)
    assert files.load(files.table("t.csv", size=sizes, label=np.arange(400) % 40)).outputs == 40
    assert files.load(files.table("u.csv", size=sizes, price=np.arange(400) % 40)).task == "regression"


def test_many_labels_beside_images_are_classes(files: Files) -> None:
    pictures = np.zeros((600, 2, 2), dtype=np.uint8)
    assert files.load(files.arrays("t.npz", x=pictures, y=np.arange(600) % 100)).outputs == 100


def test_one_hot_targets_are_classes(files: Files) -> None:
    x = np.random.default_rng(0).normal(size=(30, 4))
    data = files.load(files.arrays("t.npz", x=x, y=np.eye(3)[np.arange(30) % 3]))
    assert (data.task, data.classes) == ("classification", ("0", "1", "2"))
    assert everything(data.train)[1].tolist() == (np.arange(30) % 3).tolist()


def test_the_configuration_overrides_task_and_target(files: Files) -> None:
    rng = np.random.default_rng(0)
    name = files.table("t.csv", size=rng.normal(size=60), stars=[1, 2, 3] * 20, weight=rng.normal(size=60))
    classes, values = files.load(name, target="stars"), files.load(name, target="stars", task="regression")
    assert (classes.classes, classes.outputs) == (("1", "2", "3"), 3)
    assert (values.classes, values.outputs, values.task_why) == ((), 1, "task is set to regression")
    assert (
        "regression cannot predict"
        in files.refused(files.table("u.csv", size=[1, 2], label=["a", "b"]), task="regression").message
    )


def test_several_target_columns_are_predicted_together(files: Files) -> None:
    name = files.table("t.csv", a=[1.0, 2.5, 3.0], b=[10.0, 20.5, 60.0], size=[1, 2, 5])
    data = files.load(name, target="a, b")
    _, targets = everything(data.train)
    assert (data.outputs, data.target, targets.shape) == (2, "a,b", (3, 2))
    assert np.allclose(data.preprocessing.unscale_targets(targets), [[1, 10], [2.5, 20.5], [3, 60]], atol=1e-5)


def test_identifiers_and_counters_are_no_inputs(files: Files) -> None:
    n = 40
    rng = np.random.default_rng(0)
    files.table(
        "t.csv",
        **{
            "Unnamed: 0": range(n),
            "PassengerId": rng.permutation(n),
            "uuid": [f"{index:08x}" for index in range(n)],
            "paid": rng.permutation(n),
            "humidity": rng.normal(size=n),
            "label": ["x", "y"] * (n // 2),
        },
    )
    data = files.load("t.csv")
    assert [feature.name for feature in data.preprocessing.features] == ["paid", "humidity"]
    assert data.notes[0].count("it numbers or names each row") == 3


def test_dates_are_left_out_and_suggest_a_split_by_time(files: Files) -> None:
    days = np.arange("2024-01-01", "2024-03-01", dtype="datetime64[D]").astype(str)
    name = files.table("t.csv", day=days, size=np.arange(60.0) ** 2, label=["x", "y"] * 30)
    facts = files.facts(name)
    (time,), (left,) = found(facts, "time"), found(facts, "left_out")
    assert time.severity == "warning" and "in its order" in time.message and "newest rows" in time.advice
    assert left.facts == {"columns": ["day"]}
    shuffled = np.random.default_rng(0).permutation(days)
    files.table("u.csv", day=shuffled, size=np.arange(60.0) ** 2, label=["x", "y"] * 30)
    assert "not in its order" in found(files.facts("u.csv"), "time")[0].message


def test_an_input_that_gives_the_target_away_is_a_finding(files: Files) -> None:
    rng = np.random.default_rng(0)
    size = rng.normal(size=60)
    files.table("t.csv", size=size, code=[7, 9, 8] * 20, species=["a", "c", "b"] * 20)
    (leak,) = found(files.facts("t.csv"), "leak")
    assert leak.facts == {"column": "code"} and leak.severity == "warning"
    files.table("u.csv", size=size, fahrenheit=size * 1.8 + 32, noise=rng.normal(size=60), celsius=size)
    assert {leak.facts["column"] for leak in found(files.facts("u.csv"), "leak")} == {"size", "fahrenheit"}
    files.table("v.csv", size=size, label=rng.integers(0, 2, 60), target=rng.integers(0, 2, 60))
    assert "named like a target" in found(files.facts("v.csv", target="label"), "leak")[0].message


def test_a_column_that_names_patients_suggests_groups(files: Files) -> None:
    rng = np.random.default_rng(0)
    name = files.table("t.csv", patient_id=np.arange(90) // 3, size=rng.normal(size=90), label=["x", "y", "z"] * 30)
    (hint,) = found(files.facts(name), "groups")
    assert "30 values in 90 rows" in hint.message and "'patient_id'" in hint.advice
    facts = files.facts(name, group_column="patient_id")
    assert found(facts, "groups") == [] and "grouped by patient_id" in facts.method
    assert [each.name for each in files.load(name, group_column="patient_id").preprocessing.features] == ["size"]


def test_a_constant_column_is_kept_with_deviation_one(files: Files) -> None:
    name = files.table("t.csv", fixed=[3.3] * 6, size=[1, 2, 3, 4, 5, 9], label=["x", "y"] * 3)
    data = files.load(name)
    assert np.abs(everything(data.train)[0][:, 0]).max() < 1e-9
    assert data.preprocessing.features[0].std == (1.0,) and found(data, "constant")

"""Data that the user's own build_data returns, in every form it may take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from data_files import Files, everything, found

from stationmaster_trainer.errors import DataError

X = np.random.default_rng(0).normal(size=(30, 4))
Y = np.arange(30) % 3


class Items:
    """A map-style data set, as torch has them."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


@pytest.mark.parametrize(
    "made",
    [
        (X, Y),
        {"x": X, "y": Y},
        {"features": X.tolist(), "labels": Y.tolist()},
        Items(list(zip(X, Y.tolist(), strict=True))),
        Items([{"inputs": x, "label": y} for x, y in zip(X, Y.tolist(), strict=True)]),
    ],
    ids=["tuple", "dict", "lists", "items", "dict items"],
)
def test_every_form_gives_the_same_samples(files: Files, made: Any) -> None:
    data = files.load("build_data", "build_data", build_data=lambda split: made)
    inputs, targets = everything(data.train)
    assert inputs.dtype == np.float32 and np.allclose(inputs, X.astype(np.float32))
    assert targets.dtype == np.int64 and targets.tolist() == Y.tolist()
    assert (data.task, data.classes, data.outputs, data.input_shape) == ("classification", ("0", "1", "2"), 3, (4,))
    assert data.val is not None and len(data.val) == 30 and data.method == "build_data('val')"


def test_tensors_are_converted_without_importing_their_framework(files: Files) -> None:
    import torch

    set_ = torch.utils.data.TensorDataset(torch.tensor(X, dtype=torch.float32), torch.tensor(Y))
    data = files.load("build_data", "split", build_data=lambda split: set_)
    inputs, targets = everything(data.train)
    assert isinstance(inputs, np.ndarray) and inputs.shape == (24, 4) and targets.dtype == np.int64
    assert np.allclose(inputs, X[data.train.rows - 1])


def test_its_training_part_can_be_split(files: Files) -> None:
    data = files.load("build_data", "split", build_data=lambda split: (X, Y))
    assert data.val is not None and (len(data.train), len(data.val)) == (24, 6)
    assert np.bincount(everything(data.val)[1]).tolist() == [2, 2, 2]
    assert "stratified by class" in data.method


def test_the_other_name_of_the_validation_part_is_tried(files: Files) -> None:
    parts = {"train": (X, Y), "validation": (X[:9], Y[:9])}
    data = files.load("build_data", "build_data", build_data=parts.__getitem__)
    assert data.val is not None and len(data.val) == 9


def test_none_for_validation_is_an_error_before_the_start(files: Files) -> None:
    facts = files.facts("build_data", "build_data", build_data=lambda split: (X, Y) if split == "train" else None)
    assert facts.val_samples == 0 and found(facts, "validation")[0].severity == "error"


def test_other_tasks_are_recognised(files: Files) -> None:
    def task(x: Any, y: Any) -> tuple[str, int]:
        data = files.load("build_data", build_data=lambda split: (x, y) if y is not None else Items(list(x)))
        return data.task, data.outputs

    assert task(X, X[:, 0]) == ("regression", 1)
    assert task(X, X[:, :2]) == ("regression", 2)
    tokens = np.arange(60).reshape(10, 6) % 11
    assert task(tokens[:, :-1], tokens[:, 1:]) == ("language_modeling", 11)
    assert task(tokens, None) == ("language_modeling", 11)
    assert task(X, None)[0] == "custom"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (None, "returned None"),
        (7, "returned a int"),
        ((X, Y[:5]), "30 inputs and 5 targets"),
        (Items([]), "returned no samples"),
        ({"p": X}, "a dict with 'p', none of them the inputs"),
        (Items([("text", 1)]), "inputs of type <U4"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_may_be_returned(files: Files, made: Any, said: str) -> None:
    error = files.refused("build_data", build_data=lambda split: made)
    assert isinstance(error, DataError) and said in error.message


def test_targets_that_lie_ready_are_used_instead_of_making_every_sample(files: Files) -> None:
    import datasets
    import torch

    class Slow(Items):
        """Knows its labels, as torchvision's sets do."""

        targets, classes = Y.tolist(), ["ant", "bee", "cat"]

        def __getitem__(self, index: int) -> Any:
            looked_at.append(index)
            return X[index].astype(np.float32), self.targets[index]

    looked_at: list[int] = []
    slow = Slow(list(range(30)))
    data = files.load("build_data", "split", build_data=lambda split: torch.utils.data.Subset(slow, list(range(5, 30))))
    assert data.classes == ("ant", "bee", "cat") and len(looked_at) <= 2
    assert data.val is not None and np.bincount(everything(data.val)[1]).tolist() == [2, 1, 2]
    labels = datasets.ClassLabel(names=["ant", "bee", "cat"])
    rows = {"features": X.tolist(), "label": Y.tolist()}
    table = datasets.Dataset.from_dict(rows).cast_column("label", labels)
    assert files.load("build_data", build_data=lambda split: table).classes == ("ant", "bee", "cat")


def test_its_own_exceptions_pass_through(files: Files) -> None:
    def build_data(split: str) -> Any:
        raise OSError("the share is not mounted")

    with pytest.raises(OSError, match="not mounted"):
        files.load("build_data", build_data=build_data)


def test_overlap_is_seen_in_lazy_data_too(files: Files) -> None:
    parts = {"train": Items(list(zip(X, Y.tolist(), strict=True))), "val": Items([(X[3], int(Y[3])), (X[4] + 1, 0)])}
    assert files.facts("build_data", "build_data", build_data=parts.__getitem__).overlap == 1

"""A folder of data files, and loading them as a run does: for the tests of this area."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stationmaster_trainer import data as data_module
from stationmaster_trainer.dataset import Data, Dataset
from stationmaster_trainer.errors import StationmasterError
from stationmaster_trainer.facts import Finding, SplitFacts
from stationmaster_trainer.findings import split_facts


@dataclass(frozen=True)
class Files:
    """The user's data folder."""

    path: Path

    def write(self, name: str, content: str | bytes) -> str:
        """Writes a file and gives its name back."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    def table(self, name: str, /, **columns: Any) -> str:
        """Writes columns as csv, tsv, parquet or jsonl, by the suffix."""
        import pandas

        frame, path = pandas.DataFrame(columns), self.path / name
        if path.suffix == ".parquet":
            frame.to_parquet(path, index=False)
        elif path.suffix == ".jsonl":
            plain = ({key: _plain(value) for key, value in row.items()} for row in frame.to_dict("records"))
            path.write_text("".join(json.dumps(row) + "\n" for row in plain))
        else:
            frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
        return name

    def arrays(self, name: str, /, **arrays: Any) -> str:
        """Writes an npz."""
        np.savez(self.path / name, **arrays)
        return name

    def images(self, name: str, /, **classes: list[Any]) -> str:
        """Writes arrays (height, width) or (height, width, 3) as png files, one folder per class."""
        from PIL import Image

        for label, pictures in classes.items():
            (self.path / name / label).mkdir(parents=True, exist_ok=True)
            for index, pixels in enumerate(pictures):
                Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(self.path / name / label / f"{index}.png")
        return name

    def load(self, train_data: str, val_data: str = "none", **config: Any) -> Data:
        """As a run loads it."""
        build_data = config.pop("build_data", None)
        return data_module.load({"train_data": train_data, "val_data": val_data, **config}, self.path, build_data)

    def facts(self, train_data: str, val_data: str = "split", **config: Any) -> SplitFacts:
        """As `check_validation` sees it."""
        return split_facts(self.load(train_data, val_data, **config))

    def refused(self, train_data: str, val_data: str = "none", **config: Any) -> StationmasterError:
        """The error of data that cannot be used; it must say what to do."""
        with pytest.raises(StationmasterError) as caught:
            self.load(train_data, val_data, **config)
        assert caught.value.way_out, caught.value.message
        return caught.value


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def everything(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """All inputs and targets."""
    inputs, targets = dataset.batch(np.arange(len(dataset)))
    assert targets is not None
    return inputs, targets


def found(facts: SplitFacts | Data, check: str) -> list[Finding]:
    """Findings of one check."""
    return [finding for finding in facts.findings if finding.check == check]

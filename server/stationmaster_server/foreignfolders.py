"""Folders and files that other libraries wrote and stationmaster does not train on by itself: told, not passed over.

Known by the names in a folder: adapters, pipelines, data of `datasets`, shards, binary arrays, weights alone. Only an
adapter's settings are opened, for its base model.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stationmaster_trainer import codec, rundir
from stationmaster_trainer.errors import FormatError

from .words import many, size

_SUFFIXES = r"\.(?:parquet|tar|tfrecords?|arrow|jsonl|json|npy|bin|mds)(?:\.gz|\.zst)?"
_SHARD = re.compile(rf"(.*?)[-_.]?(\d{{4,6}})(?:-of-\d{{4,6}})?({_SUFFIXES})")
_BINARY = {
    ".arrow": "Arrow", ".tfrecord": "TFRecord", ".h5": "HDF5", ".hdf5": "HDF5", ".npy": "NumPy array", ".lmdb": "LMDB",
    ".bin": "binary tokens", ".tar": "tar", ".mds": "MDS", ".pkl": "pickle", ".zarr": "Zarr",
}  # fmt: skip
_WEIGHTS = frozenset({".safetensors", ".pt", ".pth", ".ckpt"})
_PARTS = ("train", "val", "valid", "validation", "test", "dev")
MAX_SETTINGS = 65_536
MAX_FOUND = 50


@dataclass(frozen=True)
class Foreign:
    """One folder, or the files of one kind in it."""

    path: str
    kind: str
    """`adapter`, `pipeline`, `datasets folder`, `shards`, `data`, `weights`."""
    detail: str
    """What it is in words."""
    whole: bool = False
    """Whether everything in the folder belongs to it, so that nothing else is looked for there."""


def look(folder: str, files: Sequence[tuple[str, int]]) -> list[Foreign]:
    """What the (name, bytes) of one folder's files show; `folder` relative to the project, empty for itself."""
    names = dict(files)
    total = size(sum(names.values()))
    if "adapter_config.json" in names:
        return [Foreign(folder or ".", "adapter", f"PEFT adapter, {total}", bool(folder))]
    if "model_index.json" in names:
        return [Foreign(folder or ".", "pipeline", "Diffusers pipeline", bool(folder))]
    if "dataset_dict.json" in names:
        return [Foreign(folder or ".", "datasets folder", "DatasetDict of `datasets`", bool(folder))]
    arrows = sum(name.endswith(".arrow") for name in names)
    if "dataset_info.json" in names and ("state.json" in names or arrows):
        return [
            Foreign(
                folder or ".", "datasets folder", f"`datasets`, {many(arrows, 'Arrow file')}, {total}", bool(folder)
            )
        ]
    groups = _groups(files)
    found = [_shards(folder, *group) for group in groups]
    sharded = {name for _, group in groups for name, _ in group}
    return [*found, *_single(folder, [(name, amount) for name, amount in files if name not in sharded])]


def _groups(files: Iterable[tuple[str, int]]) -> list[tuple[str, list[tuple[str, int]]]]:
    groups: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for name, amount in files:
        if len(name) < 200 and (match := _SHARD.fullmatch(name)) and not name.startswith(("model-", "pytorch_model")):
            groups[f"{match[1]}*{match[3]}"].append((name, amount))
    return [(pattern, group) for pattern, group in groups.items() if len(group) > 1]


def _shards(folder: str, pattern: str, group: Sequence[tuple[str, int]]) -> Foreign:
    place = f"{folder}/{pattern}" if folder else pattern
    return Foreign(place, "shards", f"{len(group):,} shards, {size(sum(amount for _, amount in group))}")


def _single(folder: str, files: Iterable[tuple[str, int]]) -> list[Foreign]:
    """Binary data by their names (`train.bin`), and weights that no settings stand beside."""
    found = []
    for name, amount in files:
        stem, dot, suffix = name.lower().rpartition(".")
        place, kind = (f"{folder}/{name}" if folder else name), _BINARY.get(f".{suffix}") if dot else None
        if kind and (kind not in ("binary tokens", "tar", "pickle", "NumPy array") or _is_part(stem)):
            found.append(Foreign(place, "data", f"{kind}, {size(amount)}"))
        elif f".{suffix}" in _WEIGHTS and dot and not _is_part(stem):
            found.append(Foreign(place, "weights", f"weights, {size(amount)}"))
    return found[:4]


def _is_part(stem: str) -> bool:
    return bool(set(re.split(r"[^a-z]+", stem)) & set(_PARTS))


def with_base(project: Path, one: Foreign) -> Foreign:
    """An adapter with the model that it was trained on, as its settings name it."""
    if one.kind != "adapter":
        return one
    try:
        settings = codec.parsed(rundir.read(project / one.path / "adapter_config.json", MAX_SETTINGS), one.path)
        named = settings.get("base_model_name_or_path")
    except (OSError, FormatError, AttributeError):
        return one
    return replace(one, detail=f"{one.detail}, of {named[:200]}") if isinstance(named, str) else one

"""What a yes is bound to: one hash over configuration, model file with its local imports, data, Python and command, and
the smoke test where there is one.

Computed when the configuration is shown and again at the start, so that any change between the two voids the yes. Not
covered: installed packages (the run's `environment.json` records them).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stationmaster_trainer import codec, commandline, entry, fingerprint, pretrained
from stationmaster_trainer.contract import TrainingConfig
from stationmaster_trainer.errors import DataError

from . import __version__
from .plan import Proposal
from .roots import inside

BUILD_DATA = "build_data"
TRANSFORMERS = "transformers"
"""Framework whose model is an identifier, a folder or a GGUF file instead of a Python file."""
SCRIPT = "script"
"""Framework of a script that runs as it is; its data are its own, as with `build_data`."""
WORKER = "stationmaster_worker.py"
"""Script that the Python is started with, from the run's own copy of this version's trainer."""


NAMED = ("model file", "data", "python")
"""Parts that are no key of the configuration, and may change without it."""


def digest(parts: Mapping[str, str]) -> str:
    """SHA-256 over the named parts, in hex."""
    return sha256(dict(parts))


def sha256(value: Any) -> str:
    """SHA-256 over the canonical JSON of contract dataclasses and plain values."""
    plain = json.dumps(codec.to_plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


def parts(project: Path, config: TrainingConfig, python: str, shown: Proposal | None = None) -> dict[str, str]:
    """Every part as it is now. Data whose files are untouched since `shown` are not read again; its smoke test counts.

    Raises ModelError or DataError when the model file or a data file is gone or cannot be read.
    """
    same = shown is not None and shown.signature == signature(project, config)
    data = shown.parts["data"] if shown is not None and same else data_sha256(project, config)
    smoke = {"smoke test": sha256(shown.smoke)} if shown is not None and shown.smoke is not None else {}
    return {
        "configuration": sha256(config),
        "model file": code_sha256(project, config),
        "data": data,
        "python": python,
        "command": sha256([python, WORKER, __version__, config.run_name, *_programs(project, config, python)]),
        **smoke,
    }


def _programs(project: Path, config: TrainingConfig, python: str) -> list[str]:
    """A command that runs as it is, its programs as absolute paths: another one in their place voids the yes."""
    return commandline.runnable(commandline.words(config), python, project) if config.command else []


def code_sha256(project: Path, config: TrainingConfig) -> str:
    """SHA-256 over the code: of a script that runs as it is, its command with all files of the project that it names.

    Raises ModelError when a file cannot be read.
    """
    if config.framework == SCRIPT:
        return commandline.sha256(commandline.words(config), project)
    return model_sha256(project, config.framework, config.model_path)


def model_sha256(project: Path, framework: str, model_path: str) -> str:
    """SHA-256 over the model file with its local imports, or over what Transformers loads. Raises ModelError."""
    if framework == TRANSFORMERS:
        return pretrained.sha256(pretrained.resolve(model_path, project))
    return entry.entry_sha256(entry.resolve(model_path, project), project)


def data_paths(project: Path, train_data: str, val_data: str) -> list[Path]:
    """The data files and folders that a configuration names, training first; none for `build_data`."""
    named = [train_data] if train_data != BUILD_DATA else []
    named += [val_data] if val_data not in ("split", "none", BUILD_DATA) else []
    return [inside(project, name, "the data file") for name in named]


def data_sha256(project: Path, config: TrainingConfig) -> str:
    """SHA-256 over the content of the data. DataError names what cannot be read."""
    try:
        return fingerprint.of_paths(_readable(data_paths(project, config.train_data, config.val_data)))
    except OSError as error:
        raise _unreadable(error) from None


def signature(project: Path, config: TrainingConfig) -> str:
    """Hash over names, sizes, inodes and times of the data files; equal means that their content is the same."""
    return paths_signature(project, config.train_data, config.val_data)


def paths_signature(project: Path, train_data: str, val_data: str) -> str:
    """The same from the two paths. The change time is in it: an edit that restores size and date is still seen."""
    found: list[tuple[str, int, int, int, int]] = []
    try:
        for path in _readable(data_paths(project, train_data, val_data)):
            files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
            for file in files:
                facts = file.stat()
                found.append((str(file), facts.st_size, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns))
    except OSError as error:
        raise _unreadable(error) from None
    return sha256(found)


def _readable(paths: list[Path]) -> list[Path]:
    for path in paths:
        if not path.exists():
            raise DataError(f"the data file {path} does not exist.", "Check the path, or name another one.")
        if not path.is_file() and not path.is_dir():  # a FIFO would be waited for without end
            raise DataError(f"{path} is neither a file nor a folder.", "Name a data file or a folder of them.")
    return paths


def _unreadable(error: OSError) -> DataError:
    return DataError(
        f"the data file {error.filename} cannot be read: {error.strerror or error}.", "Check its permissions."
    )

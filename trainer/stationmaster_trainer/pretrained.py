"""What `model_path` names for Transformers: a folder, a GGUF file, or an identifier on the hub; and its hash.

Standard library only: server and trainer compute the same hash, which an approval is bound to. Not covered: whether an
identifier exists (asking needs the network), and what stands in weights of more than 64 MB (their size and date count).
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .errors import ModelError

SMALL = 64 << 20
"""Bytes up to which a file's content is hashed."""
MODEL = ("config.json",)
TOKENIZER = ("tokenizer_config.json", "tokenizer.json")
_IDENTIFIER = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")


@dataclass(frozen=True)
class Pretrained:
    """A resolved `model_path`."""

    kind: Literal["folder", "gguf", "hub"]
    name: str
    """As the person named it: shown, and the identifier on the hub."""
    path: Path | None = None
    """Absolute path of the folder or file."""

    @property
    def place(self) -> str:
        """What `from_pretrained` takes: the folder (of a GGUF file its folder) or the identifier."""
        if self.path is None:
            return self.name
        return str(self.path.parent if self.kind == "gguf" else self.path)


def resolve(model_path: str, project_dir: Path, marks: tuple[str, ...] = MODEL) -> Pretrained:
    """Raises ModelError for a path that is missing, outside the project, or neither a folder nor a GGUF file.

    marks: files of which a folder must hold one; `TOKENIZER` for a tokenizer without a model.
    """
    if not model_path:
        raise ModelError("model_path is not set.", "Name an identifier of the hub, a model folder or a GGUF file.")
    try:
        path = (project_dir / model_path).resolve()
        there, link = path.exists(), os.path.islink(project_dir / model_path)
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name that is too long or no name at all
        raise ModelError(f"the model {model_path[:120]!r} cannot be found.", "Check the name.") from None
    if there:
        if not path.is_relative_to(project_dir.resolve()):
            raise ModelError(f"the model {model_path!r} lies outside the project {project_dir}.", "Copy it there.")
        return _local(path, model_path, marks)
    if link or not _IDENTIFIER.fullmatch(model_path) or model_path.endswith((".gguf", ".safetensors", ".bin", ".py")):
        raise ModelError(
            f"the model {model_path!r} does not exist in {project_dir}.",
            "Name a model folder, a GGUF file, or an identifier of the hub such as HuggingFaceTB/SmolLM2-135M.",
        )
    return Pretrained("hub", model_path)


def sha256(found: Pretrained) -> str:
    """SHA-256 over the identifier, or over names and contents of the files."""
    digest = hashlib.sha256(f"{found.kind}\0".encode())
    if found.path is None:
        digest.update(found.name.encode())
        return digest.hexdigest()
    files = [found.path] if found.path.is_file() else _files(found.path)
    for file in files:
        facts = file.stat()
        name = file.relative_to(found.path).as_posix()
        digest.update(f"{name}\0{facts.st_size}\0".encode("utf-8", "surrogateescape"))
        digest.update(file.read_bytes() if facts.st_size <= SMALL else str(facts.st_mtime_ns).encode())
    return digest.hexdigest()


def _local(path: Path, model_path: str, marks: tuple[str, ...]) -> Pretrained:
    if path.is_file():
        if path.suffix.lower() == ".gguf":
            return Pretrained("gguf", model_path, path)
        hint = "For a model class of your own set framework: pytorch." if path.suffix == ".py" else ""
        raise ModelError(
            f"the model {model_path!r} is a {path.suffix or 'plain'} file.",
            f"Transformers takes a model folder, a GGUF file or an identifier. {hint}".strip(),
        )
    if any((path / mark).is_file() for mark in marks):
        return Pretrained("folder", model_path, path)
    if (path / "adapter_config.json").is_file():
        raise ModelError(
            f"{model_path!r} holds a LoRA adapter, not a model.",
            "Merge it into its base model, or name the base model.",
        )
    ggufs = sorted(entry.name for entry in path.glob("*.gguf"))
    hint = f"Name the file: {model_path.rstrip('/')}/{ggufs[0]}." if ggufs else "save_pretrained writes such a folder."
    raise ModelError(f"the folder {model_path!r} has no {marks[0]}: it is no model of Transformers.", hint)


def _files(folder: Path) -> list[Path]:
    """Every file below the folder but hidden ones, sorted."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(root) / name for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.is_file())

"""What a saved model of Transformers says of itself, and what is wrong with its files: read as JSON, never loaded.

Its own code is never run here. Not covered: whether every tensor fits (building the model tells), and pickled weights.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stationmaster_trainer.facts import Finding

MOST = 4 << 20
"""Bytes of the largest JSON that is read; the header of safetensors may be larger (`MOST_HEADER`)."""
MOST_HEADER = 64 << 20
_KEYS = ("model_type", "architectures", "auto_map")
_EMBEDDINGS = ("embed_tokens.weight", "word_embeddings.weight", "wte.weight")
"""Names of the tensor (vocabulary, width) of a text model."""
_RESTORE = "Copy the folder again from where it came from, or write it with save_pretrained."


def is_model(folder: Path) -> bool:
    """Whether the config.json of a folder without weights is one of a model, not of anything else."""
    config, _ = _json(folder / "config.json")
    return isinstance(config, dict) and any(key in config for key in _KEYS)


def findings(project: Path, folder: str) -> list[Finding]:
    """What keeps the model in this folder of the project from being trained, and what must be known first."""
    place = project / folder
    if not place.is_dir():
        return []  # a GGUF file
    config, problem = _json(place / "config.json")
    if problem:
        return [_error(folder, f"{folder}/config.json {problem}", _RESTORE)]
    if not isinstance(config, dict) or not any(key in config for key in _KEYS):
        return [_error(folder, f"{folder}/config.json names no model_type: it is no model of Transformers", _RESTORE)]
    return [*_own_code(folder, config), *_weights(place, folder, config)]


def _own_code(folder: str, config: Mapping[str, Any]) -> Iterator[Finding]:
    named = config.get("auto_map")
    if named:
        files = sorted({f"{str(value).rpartition('--')[2].partition('.')[0]}.py" for value in _values(named)})
        yield Finding(
            "model",
            "warning",
            f"{folder} ({config.get('model_type', 'of an unknown type')}) brings code of its own ({', '.join(files)}), "
            "which is not run unless the person agrees",
            "Let the person read that code; with their yes set extra.trust_remote_code: true.",
            {"folder": folder, "files": files},
        )


def _values(named: Any) -> list[str]:
    values = named.values() if isinstance(named, dict) else ()
    return [one for value in values for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def _weights(place: Path, folder: str, config: Mapping[str, Any]) -> Iterator[Finding]:
    index, problem = _json(place / "model.safetensors.index.json")
    if problem and (place / "model.safetensors.index.json").exists():
        yield _error(folder, f"{folder}/model.safetensors.index.json {problem}", _RESTORE)
        return
    files = sorted(set(_named_files(index)))
    gone = [name for name in files if not (place / name).is_file()]
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        yield _error(folder, f"{folder} lacks {gone[0]}{more}, a part of its weights", _RESTORE)
    found = sorted(path.name for path in place.glob("*.safetensors"))
    if not found and not gone and not list(place.glob("*.bin")) and not list(place.glob("*.gguf")):
        message = f"{folder} holds no weights: training would start from random ones"
        advice = "That is training from scratch. To fine-tune, put its model.safetensors there."
        yield Finding("model", "warning", message, advice, {"folder": folder})
    for name in found:
        shapes, broken = _header(place / name)
        if broken:
            yield _error(folder, f"{folder}/{name} {broken}", _RESTORE)
            return
        odd = _other_shape(shapes, config)
        if odd:
            yield _error(folder, f"{folder}/{name} {odd}", "Take config.json and weights from one place.")
            return


def _named_files(index: Any) -> list[str]:
    """Files of an index of weights; names with a path are left out, they are none of this folder."""
    named = index.get("weight_map") if isinstance(index, dict) else None
    names = named.values() if isinstance(named, dict) else ()
    return [name for name in names if isinstance(name, str) and os.path.basename(name) == name]


def _other_shape(shapes: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The embedding against the configuration: weights of a model of another size."""
    wanted = (config.get("vocab_size"), config.get("hidden_size", config.get("n_embd")))
    for name, shape in shapes.items():
        if not name.endswith(_EMBEDDINGS) or not isinstance(shape, list) or len(shape) != 2:
            continue
        width = wanted[1] if config.get("embedding_size") is None else config["embedding_size"]
        for what, found, stated in (("vocab_size", shape[0], wanted[0]), ("hidden_size", shape[1], width)):
            if isinstance(stated, int) and found != stated:
                return f"is of another model: {name} is {tuple(shape)}, the config.json says {what} {stated}"
    return ""


def _header(path: Path) -> tuple[dict[str, Any], str]:
    """Tensor name → shape from the head of a safetensors file (8 bytes of length, JSON, data), or what is wrong."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, MOST_HEADER):
                return {}, f"is damaged: no weights begin so ({size:,} bytes)"
            header = json.loads(file.read(length))
        tensors = {name: about for name, about in header.items() if name != "__metadata__"}
        end = 8 + length + max((int(about["data_offsets"][1]) for about in tensors.values()), default=0)
        if end != size:
            return {}, f"is damaged: it has {size:,} bytes, its header speaks of {end:,}"
        return {name: about["shape"] for name, about in tensors.items()}, ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        return {}, f"is damaged: {type(error).__name__} in its header"


def _json(path: Path) -> tuple[Any, str]:
    """A JSON file's content, or what is wrong with it. Nothing is waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None, "is not a plain file"
            text = file.read(MOST + 1)
    except OSError as error:
        return None, f"cannot be read: {error.strerror}"
    if len(text) > MOST:
        return None, f"is larger than {MOST:,} bytes"
    try:
        return json.loads(text), ""
    except json.JSONDecodeError as error:
        return None, f"is not JSON: {error.msg} in line {error.lineno}"
    except (ValueError, RecursionError):
        return None, "is not JSON: its text is damaged"


def _error(folder: str, message: str, advice: str) -> Finding:
    return Finding("model", "error", message, advice, {"folder": folder})

"""A GGUF file as an ordinary model folder: dequantised once into the user's cache, used from there ever after.

Reading a GGUF file of 100 MB takes half a minute of processor time; inspecting, training and each resume need it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from ..errors import ModelError
from ..packages import need

FOLDER = "stationmaster/gguf"
_ROOM = 10
"""Bytes of the folder per byte of the file, at most: 4 bits become 32."""


def exported(path: Path) -> Path:
    """The folder that holds the file's model in fp32 and its tokenizer. Raises ModelError."""
    folder = cache_dir() / _key(path)
    if not folder.is_dir():  # renamed into place when it is complete
        _export(path, folder)
    return folder


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/stationmaster/gguf`, by default below `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / FOLDER


def _key(path: Path) -> str:
    facts = path.stat()
    with open(path, "rb") as file:
        head = file.read(1 << 20)
        file.seek(-min(facts.st_size, 1 << 20), os.SEEK_END)
        tail = file.read()
    digest = hashlib.sha256(head + tail + str((facts.st_size, facts.st_mtime_ns)).encode()).hexdigest()
    return f"{path.stem[:60]}-{digest[:16]}"


def _export(path: Path, folder: Path) -> None:
    need("gguf", f"reading {path.name}")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    free, needed = shutil.disk_usage(folder.parent).free, _ROOM * path.stat().st_size
    if free < needed:
        raise ModelError(
            f"{path.name} needs up to {needed:,} bytes dequantised in {folder.parent}, {free:,} are free.",
            "Free space, set XDG_CACHE_HOME to another disk, or name a folder with the model's own weights.",
        )
    with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
        try:
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
            model = AutoModelForCausalLM.from_pretrained(
                path.parent, gguf_file=path.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
            )
        except (ValueError, OSError, KeyError, NotImplementedError, RuntimeError, IndexError) as error:
            said = " ".join(str(error).split())[:400]
            raise ModelError(
                f"{path.name} cannot be read as a GGUF model: {said}",
                "Take another file, or the model's own folder of safetensors.",
            ) from error
        target = Path(partial) / "model"
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
        with contextlib.suppress(OSError):  # another process may have been faster
            os.rename(target, folder)

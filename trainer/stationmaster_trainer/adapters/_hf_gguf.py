"""A GGUF file as an ordinary model folder: dequantised once into the user's cache, used from there ever after.

Reading a GGUF file of 100 MB takes half a minute of processor time; inspecting, training and each resume need it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from pathlib import Path

from ..errors import ModelError
from ..packages import need

FOLDER = "stationmaster/gguf"
_ROOM = 10
"""Bytes of the folder per byte of the file, at most: 4 bits become 32."""


def exported(path: Path) -> Path:
    """The folder that holds the file's model in fp32 and its tokenizer. Raises ModelError.

    Of several processes one converts and the others wait. What one left that was killed is removed by the next.
    """
    folder = cache_dir() / _key(path)
    if folder.is_dir():  # renamed into place when it is complete
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(folder.with_name(f".{folder.name}.lock"), "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                _export(path, folder)
    except OSError as error:
        raise ModelError(
            f"{path.name} cannot be kept dequantised in {folder.parent}: {error.strerror or error}.",
            "Make that folder writable, or set XDG_CACHE_HOME to another disk.",
        ) from error
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

    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    free, needed = shutil.disk_usage(folder.parent).free, _ROOM * path.stat().st_size
    if free < needed:
        raise ModelError(
            f"{path.name} needs up to {needed:,} bytes dequantised in {folder.parent}, {free:,} are free.",
            "Free space, set XDG_CACHE_HOME to another disk, or name a folder with the model's own weights.",
        )
    size = path.stat().st_size / 1e6
    said = f"dequantising {path.name} ({size:,.0f} MB), once: some {size * 0.4:,.0f} s of one core"
    print(said, file=sys.stderr, flush=True)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)  # nosec B615 # a local file
        model = AutoModelForCausalLM.from_pretrained(  # nosec B615 # a local file
            path.parent, gguf_file=path.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
        )
    except (ValueError, OSError, KeyError, NotImplementedError, RuntimeError, IndexError) as error:
        said = " ".join(str(error).split())[:400]
        raise ModelError(
            f"{path.name} cannot be read as a GGUF model: {said}",
            "Take another file, or the model's own folder of safetensors.",
        ) from error
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    for file in partial.iterdir():
        with open(file, "rb") as written:
            os.fsync(written.fileno())
    os.rename(partial, folder)

"""Plain text as characters for next-token language modelling: vocabulary of the training part, contiguous parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .dataset import WindowDataset
from .errors import DataError
from .formats import PARTS, TRAIN_PARTS, part_folder
from .preprocessing import Preprocessing, TargetSpec

SUFFIXES = frozenset({".txt", ".text", ".md"})


@dataclass(frozen=True)
class Text:
    """The text of one part."""

    name: str
    content: str
    files: int


def read(path: Path, name: str, part: str = "train") -> Text:
    """One file, or all text files of a folder in sorted order with a line break between them. Raises DataError.

    When the folder has sub-folders train/ (and val/), those of the part asked for.
    """
    from .formats import files_below

    if path.is_dir() and part_folder(path, TRAIN_PARTS) is not None:
        chosen = part_folder(path, PARTS[part])
        if chosen is None:
            way_out = "Choose val_data: split, or name a file." if part == "val" else "Name the file or folder itself."
            raise DataError(f"{name} has no sub-folder {part}/.", way_out)
        path, name = chosen, f"{name.rstrip('/')}/{chosen.name}"
    files = files_below(path, SUFFIXES) if path.is_dir() else [path]
    content = "\n".join(_content(file, name if file == path else f"{name}/{file.relative_to(path)}") for file in files)
    if not content.strip():
        raise DataError(f"{name} holds no text.", "Name a file that holds text.")
    return Text(name, content, len(files))


def fit(text: str, sequence_length: int) -> Preprocessing:
    """The vocabulary of the training text, sorted by code point."""
    codes = np.unique(np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32))
    characters = codes.tobytes().decode("utf-32-le")
    target = TargetSpec(kind="tokens")
    return Preprocessing(
        "text", "language_modeling", target=target, characters=characters, sequence_length=sequence_length
    )


def dataset(text: str, preprocessing: Preprocessing, name: str, first_line: int = 1) -> WindowDataset:
    """Windows over the text; `rows` is the line each begins in. Raises DataError when it is shorter than one window."""
    return windows(preprocessing.encode(text), preprocessing.sequence_length, name, _lines(text, first_line))


def windows(tokens: np.ndarray, length: int, name: str, lines: np.ndarray | None = None) -> WindowDataset:
    """Windows of `length` tokens; `lines` (tokens,) are line numbers. Raises DataError when there is less than one."""
    if len(tokens) < length + 1:
        raise DataError(
            f"{name} has {len(tokens):,} tokens, less than one window of sequence_length {length} and the next token.",
            f"Set sequence_length to at most {max(1, (len(tokens) - 1) // 2)}, or add text.",
        )
    found = WindowDataset(tokens, length, np.empty(0, dtype=np.int64))
    starts = np.arange(len(found)) * length
    return WindowDataset(tokens, length, starts + 1 if lines is None else lines[starts])


def _lines(text: str, first: int) -> np.ndarray:
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    breaks = np.cumsum(codes == ord("\n"))
    return first + np.concatenate(([0], breaks[:-1])).astype(np.int64)


def _content(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is not UTF-8 text: byte 0x{error.object[error.start]:02x} at position {error.start:,}.",
            "Save it as UTF-8, for example: iconv -f WINDOWS-1252 -t UTF-8 old.txt > new.txt",
        ) from None
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror}.", "Give this user the right to read it.") from None

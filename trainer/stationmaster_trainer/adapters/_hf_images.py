"""Images for a model of Transformers: a folder with one sub-folder per class, or a column of a table.

The model's image processor makes the pixel values. Not covered: several images per sample, boxes and masks.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import images
from ..dataset import LazyDataset
from ..errors import DataError
from ..packages import need
from ._hf_rows import Rows


@dataclass(frozen=True, eq=False)
class Pictures(LazyDataset):
    """N images with their classes; `get` decodes one."""

    processor: Any = field(default=None, repr=False)
    """The model's image processor."""

    def batch(self, indices: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """`pixel_values` float32 (B, channels, height, width), and classes int64 (B,)."""
        images = [self.get(int(index))[0] for index in indices]
        pixels = self.processor(images=images, return_tensors="np")["pixel_values"]
        assert self.targets is not None
        return {"pixel_values": np.asarray(pixels, dtype=np.float32)}, self.targets[indices]

    def check(self, most: int = 32) -> None:
        """Decodes some images, evenly spaced. Raises DataError that names a damaged one."""
        for index in range(0, len(self), max(1, len(self) // most)):
            self.get(index)


def of_rows(
    rows: Rows, column: str, base: Path, project: Path, targets: np.ndarray, processor: Any, mode: str
) -> Pictures:
    """Images in cells: bytes, `datasets`' {bytes, path}, or paths relative to the data file's folder `base`."""
    cells = rows.columns[column]
    names = [_name(cell, f"in row {at} of {rows.name}") for cell, at in zip(cells, rows.numbers.tolist(), strict=True)]

    def read(index: int) -> bytes:
        cell = cells[index]
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if isinstance(content, bytes):
            return content
        path = cell.get("path") if isinstance(cell, dict) else cell
        return _file(path, base, project)

    def get(index: int) -> tuple[Any, Any]:
        return _decoded(read(index), names[index], mode), targets[index]

    def small(index: int) -> np.ndarray:
        return images.small(io.BytesIO(read(index)))

    return Pictures(
        len(names), get, rows.numbers, targets, read, small=small, name=names.__getitem__, processor=processor
    )


def _decoded(content: bytes, name: str, mode: str) -> Any:
    """A Pillow image, upright. `mode`: `RGB`, or `L` for models with one channel."""
    image_module, operations = need("PIL.Image", "reading images"), need("PIL.ImageOps", "reading images")
    try:
        with image_module.open(io.BytesIO(content)) as opened:
            return operations.exif_transpose(opened).convert(mode)
    except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError) as error:
        said = "it is no image file" if isinstance(error, image_module.UnidentifiedImageError) else error
        raise DataError(f"the image {name} cannot be read: {said}.", "Replace or remove it.") from None


def _name(cell: Any, place: str) -> str:
    """The image for messages: its path where it has one."""
    path = cell.get("path") if isinstance(cell, dict) else cell
    return f"{path} {place}" if isinstance(path, str) else place


def _file(path: Any, base: Path, project: Path) -> bytes:
    full = (base / str(path)).resolve()
    if not full.is_relative_to(project.resolve()):
        raise DataError(f"the image {path} lies outside the project.", "Copy the images into the project.")
    try:
        return full.read_bytes()
    except OSError as error:
        raise DataError(
            f"the image {path} cannot be read: {error.strerror}.",
            "Paths are taken relative to the data file.",
        ) from None

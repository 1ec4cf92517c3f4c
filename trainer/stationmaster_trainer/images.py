"""A folder with one sub-folder of images per class, decoded by Pillow batch by batch, all in the same size and mode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .dataset import LazyDataset
from .errors import DataError
from .formats import IMAGES, PARTS, TRAIN_PARTS, files_below, part_folder
from .packages import need
from .preprocessing import ImageSpec
from .table import listed

LOOKED_AT = 20_000
"""Images whose header is read to find the common size and mode; of larger folders evenly spaced ones."""
DECODED = 64
"""Images that are decoded whole, evenly spaced, to find damaged ones before the start."""

_GREY = {"L", "1", "I;16", "I", "F", "LA"}


@dataclass(frozen=True)
class Folder:
    """The images of one part."""

    name: str
    """The folder as the person named it."""
    paths: tuple[Path, ...]
    """Sorted by class, then by path."""
    labels: tuple[str, ...]
    """Class of each image: the name of its sub-folder."""
    notes: tuple[str, ...] = ()


def find(folder: Path, name: str, part: str = "train") -> Folder:
    """The images below `folder`; when it has sub-folders train/ (and val/, test/), those of the part asked for.

    Raises DataError when there are no class folders or no images.
    """
    train = part_folder(folder, TRAIN_PARTS)
    notes: tuple[str, ...] = ()
    if train is not None:
        chosen = train if part == "train" else part_folder(folder, PARTS[part])
        if chosen is None:
            way_out = "Choose val_data: split, or name a folder." if part == "val" else "Name the folder itself."
            raise DataError(f"{name} has no sub-folder {part}/ beside {train.name}/.", way_out)
        notes = (f"{name}: the images of {chosen.name}/ are used",)
        folder, name = chosen, f"{name.rstrip('/')}/{chosen.name}"
    classes = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    found = {entry.name: files_below(entry, IMAGES) for entry in classes}
    empty = [label for label, paths in found.items() if not paths]
    found = {label: paths for label, paths in found.items() if paths}
    loose = sum(entry.suffix.lower() in IMAGES for entry in folder.iterdir() if entry.is_file())
    if not found:
        raise DataError(
            f"{name} has no sub-folders with images{f', but {loose} images of its own' if loose else ''}.",
            "Make one sub-folder per class and put its images there.",
        )
    if empty:
        notes += (f"{name}: sub-folders without images are left alone: {listed(empty)}",)
    if loose:
        notes += (f"{name}: {loose} images outside of class folders are left alone",)
    paths = tuple(path for each in found.values() for path in each)
    return Folder(name, paths, tuple(label for label, each in found.items() for _ in each), notes)


def measure(folder: Folder, *, size: tuple[int, int] | None, scale: bool, channels_last: bool) -> tuple[ImageSpec, str]:
    """The form for all images, by the most common size and mode, and what a person should know of it."""
    sizes, modes = _headers(folder)
    common = Counter(sizes).most_common()
    height, width = size or common[0][0]
    mode = "L" if set(modes) <= _GREY else "RGB"
    others = len(sizes) - sum(each == (height, width) for each in sizes)
    colour = "one channel (grey)" if mode == "L" else "three channels (RGB)"
    note = f"images are {height}×{width} pixels with {colour}"
    if others:
        odd = [path for path, each in zip(_spaced(folder.paths, LOOKED_AT), sizes, strict=True) if each != common[0][0]]
        named = f" ({listed((path.name for path in odd), 3)})" if len(odd) <= 0.1 * len(sizes) else ""
        note += f"; {others:,} of {len(sizes):,} have another size and are resized{named}"
    grey = sum(each in _GREY for each in modes)
    if mode == "RGB" and grey:
        note += f"; {grey:,} of {len(modes):,} are grey and get three equal channels"
    return ImageSpec(height, width, mode, 255.0 if scale else 1.0, channels_last), note


def dataset(folder: Folder, labels: np.ndarray, positions: np.ndarray, spec: ImageSpec) -> LazyDataset:
    """The images at these positions, with their class indices `labels` (all images)."""
    paths = [folder.paths[at] for at in positions.tolist()]
    targets = labels[positions].astype(np.int64)
    return LazyDataset(
        len(paths),
        lambda index: (decode(paths[index], spec), targets[index]),
        positions.astype(np.int64) + 1,
        targets,
        lambda index: paths[index].read_bytes(),
        small=lambda index: small(paths[index]),
        name=lambda index: "/".join(paths[index].parts[-2:]),
    )


def decode(path: Path, spec: ImageSpec) -> np.ndarray:
    """One image as float32 of `spec.shape`. Raises DataError when the file is damaged."""
    image_module, operations = need("PIL.Image", "reading images"), need("PIL.ImageOps", "reading images")
    try:
        with image_module.open(path) as opened:
            image = operations.exif_transpose(opened)
            if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip
                image = image_module.fromarray(
                    (np.asarray(image, dtype=np.float32) / 257.0).clip(0, 255).astype(np.uint8)
                )
            image = image.convert(spec.mode)
            if image.size != (spec.width, spec.height):
                image = image.resize((spec.width, spec.height), image_module.Resampling.BILINEAR)
            pixels = np.asarray(image, dtype=np.float32) / np.float32(spec.divide)
    except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError) as error:
        raise DataError(f"the image {path} cannot be read: {error}.", "Remove or replace it.") from None
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return pixels if spec.channels_last else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def small(source: Any, side: int = 16) -> np.ndarray:
    """float32 (side, side): grey values 0 … 255 of a path or open file. Raises DataError when it is damaged."""
    image_module, operations = need("PIL.Image", "reading images"), need("PIL.ImageOps", "reading images")
    try:
        with image_module.open(source) as opened:
            opened.draft("L", (4 * side, 4 * side))  # of a JPEG only so much is decoded as is needed
            image = operations.exif_transpose(opened)
            if image.mode.startswith("I") or image.mode == "F":
                pixels = np.asarray(image, dtype=np.float32)
                span = max(1e-9, float(pixels.max()) - float(pixels.min()))
                image = image_module.fromarray(((pixels - pixels.min()) * (255 / span)).astype(np.uint8))
            image = image.convert("L").resize((side, side), image_module.Resampling.BOX)
            return np.asarray(image, dtype=np.float32)
    except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError) as error:
        raise DataError(f"the image {source} cannot be read: {error}.", "Remove or replace it.") from None


def check(folder: Folder, spec: ImageSpec) -> None:
    """Decodes some images whole. Raises DataError that names the damaged ones."""
    broken = []
    for path in _spaced(folder.paths, DECODED):
        try:
            decode(path, spec)
        except DataError as error:
            broken.append(error)
    _refuse(broken)


def _headers(folder: Folder) -> tuple[list[tuple[int, int]], list[str]]:
    """(height, width) as shown upright, and mode, of the images looked at."""
    image_module = need("PIL.Image", "reading images")
    sizes, modes, broken = [], [], []
    for path in _spaced(folder.paths, LOOKED_AT):
        try:
            with image_module.open(path) as image:
                width, height = image.size
                turned = image.getexif().get(0x0112, 1) >= 5
                sizes.append((width, height) if turned else (height, width))
                modes.append("RGB" if image.mode == "P" else image.mode)
        except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError) as error:
            broken.append(DataError(f"the image {path} cannot be read: {error}.", "Remove or replace it."))
    _refuse(broken)
    return sizes, modes


def _refuse(broken: Sequence[DataError]) -> None:
    """Raises one error for all of them, which names the first."""
    if len(broken) > 1:
        shown = " ".join(error.message for error in broken[:5])
        more = f" And {len(broken) - 5} more." if len(broken) > 5 else ""
        raise DataError(f"{len(broken)} images cannot be read: {shown}{more}", "Remove or replace them.")
    if broken:
        raise broken[0]


def _spaced(paths: Sequence[Path], most: int) -> Sequence[Path]:
    return paths[:: -(-len(paths) // most)]

"""The best model of a run in the form that its users load: `checkpoints/<run>/model/`, made anew at the run's end.

Written beside and swapped in as a whole. It never makes a run fail, and never replaces a folder that is not its own.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import manifest, model_card
from .contract import Spec
from .errors import CheckpointError
from .manifest import Manifest
from .model_card import Exported, Origin
from .rundir import sync_folder

PARTIAL = ".model.partial"
LINKED_BYTES = 2 << 30
"""A larger file is a hard link to the checkpoint's: copying it would keep whoever stops a run waiting."""
RESERVE = 16 << 20
"""Bytes that stay free beside the copies; where there is less room the files are hard links too."""
_EXCHANGE, _HERE = 2, -100


def leave(spec: Spec, adapter: Any, step: int) -> str:
    """Makes `model/` from checkpoint `step` by the adapter's `export(spec, folder, target)`.

    Returns why it could not be done; empty when it was, or when the adapter has no such form.
    """
    hook = getattr(adapter, "export", None)
    if hook is None:
        return ""
    home = Path(spec.checkpoint_dir)
    partial = home / PARTIAL
    try:
        saved = manifest.read(home / manifest.folder_name(step))
        if not _stale(home / model_card.FOLDER, spec, saved):
            return ""
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        exported = hook(spec, home / manifest.folder_name(step), partial)
        _finish(partial, spec, saved, exported)
        _swap(partial, home / model_card.FOLDER)
    except Exception as error:  # whatever it is: the training is done and its checkpoints stand
        return f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return ""


def take(folder: Path, target: Path, names: Iterable[str]) -> None:
    """Copies files of a checkpoint by name (`weights/0`: into a sub-folder); large ones become hard links."""
    for name in names:
        source, into = folder / name, target / name
        into.parent.mkdir(parents=True, exist_ok=True)
        size = source.stat().st_size
        if size > min(LINKED_BYTES, shutil.disk_usage(target).free - RESERVE):
            os.link(source, into)
        else:
            shutil.copyfile(source, into)


def _stale(folder: Path, spec: Spec, saved: Manifest) -> bool:
    """Whether the folder is to be made. Raises CheckpointError for one that belongs to somebody else."""
    if not os.path.lexists(folder):
        return True
    origin = model_card.read_origin(folder)
    if origin is None or (origin.run, origin.digest) != (spec.config.run_name, spec.digest):
        raise CheckpointError(f"{folder} is not of this run, and is left as it is.", "Move it away.")
    return origin.seal != saved.seal


def _finish(partial: Path, spec: Spec, saved: Manifest, exported: Exported) -> None:
    """Compares what came from the checkpoint with its manifest, writes card and origin, makes all of it durable."""
    folders = {partial}
    for path in sorted(path for path in partial.rglob("*") if path.is_file()):
        folders.add(path.parent)
        entry = saved.files.get(path.relative_to(partial).as_posix())
        found = _sync(path)
        if entry is not None and found != entry.sha256:
            raise CheckpointError(f"{path.name} of checkpoint-{saved.step} was changed since it was written.")
    origin = Origin(
        spec.config.run_name, spec.digest, saved.step, saved.seal, exported, saved.eval_loss, dict(saved.metrics)
    )
    model_card.write(partial, spec, origin)
    for folder in folders:
        folder.chmod(0o755)
        sync_folder(folder)


def _sync(path: Path) -> str:
    """Makes a file durable; its SHA-256."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        os.fsync(file.fileno())
        while chunk := file.read(manifest.CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _swap(made: Path, place: Path) -> None:
    """Puts `made` at `place`; what stood there is deleted. A reader finds the old folder or the new one, never none."""
    if not os.path.lexists(place):
        os.rename(made, place)
    elif not _exchange(made, place):  # a file system without that: for an instant there is none
        aside = place.with_name(".model.superseded")
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(place, aside)
        os.rename(made, place)
        shutil.rmtree(aside, ignore_errors=True)
    sync_folder(place.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two folders in one step (renameat2, Linux); False where that does not exist."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(other))

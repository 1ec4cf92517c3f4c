"""Makes a run's folder from a confirmed spec: put together out of sight, synced, then shown as a whole."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import stationmaster_trainer
from stationmaster_trainer import codec, rundir
from stationmaster_trainer.contract import Spec, Status
from stationmaster_trainer.errors import RunError
from stationmaster_trainer.rundir import RUNS, RunDir

BUILDING = ".building"
"""Folder below `runs/` in which a run is put together before it appears under its name."""
LEFTOVER_SECONDS = 3600.0
"""Age from which something in there was left by a server that died."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def create_run(
    spec: Spec, config_yaml: str, checklist: dict[str, Any], seal: Callable[[RunDir, str], None] | None = None
) -> RunDir:
    """Makes the run folder of a confirmed spec: complete or not at all, readable by its owner only.

    `seal`: puts its seal into the folder before that appears under its name.
    Raises RunError when the name is taken or not fit for a folder.
    """
    run, name = RunDir(Path(spec.run_dir)), spec.config.run_name
    if not _NAME.fullmatch(name) or run.path != Path(spec.project_dir, RUNS, name):
        raise RunError(f"run_name {name!r} cannot name a folder of runs/.", "Use letters, digits, `_`, `-` and `.`.")
    if os.path.lexists(run.path):
        raise _taken(run)
    building = run.path.parent / BUILDING
    _sweep(building)
    draft = RunDir(building / f"{run.name}.{secrets.token_hex(6)}")
    try:
        _fill(draft, spec, config_yaml, checklist)
        if seal is not None:
            seal(draft, name)
        _last_of_all(draft, run.path.parent)
        os.rename(draft.path, run.path)
    except OSError as error:
        shutil.rmtree(draft.path, ignore_errors=True)
        if os.path.lexists(run.path):
            raise _taken(run) from None
        why = error.strerror or str(error)
        raise RunError(f"the run folder {run.path} cannot be made: {why}.", "Check space and rights.") from None
    rundir.sync_folder(run.path.parent)
    with contextlib.suppress(OSError):  # another run is being made there
        building.rmdir()
    return run


def _fill(draft: RunDir, spec: Spec, config_yaml: str, checklist: dict[str, Any]) -> None:
    draft.path.mkdir(mode=0o700, parents=True)
    (draft.path / "attempts").mkdir(mode=0o700)
    rundir.create(draft.config, config_yaml.encode())
    rundir.create(draft.spec, codec.dumps(spec, indent=1).encode())
    rundir.create(draft.checklist, codec.dumps(checklist, indent=1).encode())
    now = time.time()
    status = Status(spec.config.run_name, 0, "queued", 0, now, now, total_steps=spec.config.total_steps)
    rundir.create(draft.status, codec.dumps(status, indent=1).encode())
    _copy_trainer(draft.lib)
    rundir.sync_folder(draft.path)


def _last_of_all(draft: RunDir, folder: Path) -> None:
    """Gives the spec, whose time says which run is the newest, a later one than any other's: clocks are set back."""
    newest = 0
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):
            newest = max(newest, os.stat(RunDir(Path(entry.path)).spec).st_mtime_ns)
    if newest >= os.stat(draft.spec).st_mtime_ns:
        os.utime(draft.spec, ns=(newest + 1_000_000, newest + 1_000_000))


def _copy_trainer(lib: Path) -> None:
    """The trainer that will run, with its three start scripts; compiled files come along, to start sooner."""
    package = Path(stationmaster_trainer.__file__).parent
    lib.mkdir(mode=0o700)
    target = lib / package.name
    shutil.copytree(package, target, ignore=shutil.ignore_patterns("scripts", "*.pyc.*"))
    for script in (package / "scripts").glob("*.py"):
        shutil.copy2(script, lib / script.name)
    for folder, _, names in os.walk(lib):
        os.chmod(folder, 0o700)
        for name in names:
            path = os.path.join(folder, name)
            os.chmod(path, 0o600)
            if name.endswith(".py"):
                _sync(path)
        rundir.sync_folder(Path(folder))


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(building: Path) -> None:
    for entry in os.scandir(building) if building.is_dir() else ():
        try:
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > LEFTOVER_SECONDS:
                shutil.rmtree(entry.path, ignore_errors=True)
        except OSError:
            continue


def _taken(run: RunDir) -> RunError:
    return RunError(f"the name {run.name!r} is taken: {run.path} exists.", "Set another run_name.")

"""trackio: the run in a local database below the run folder, or in `TRACKIO_DIR`; nothing leaves this machine.

Each opening deletes the run from the database and writes it anew from the streams, so that nothing is lost or doubled.
To publish it is the user's own step: `trackio sync`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..contract import Record, Spec
from ..errors import FormatError
from ..rundir import RunDir
from ._logger import Scalar, config_of, ending_of, from_project, from_run, scalars, summary_of


class TrackioLogger:
    """Writes in transactions of trackio's own storage, which tells of a failure; its `log` keeps it to itself."""

    def __init__(self, run: RunDir, spec: Spec) -> None:
        folder = _folder(run)
        from trackio.sqlite_storage import SQLiteStorage

        self._storage, self._run, self._config = SQLiteStorage, run, config_of(spec)
        self._project, self._name = _project(spec), spec.config.run_name
        self._id = hashlib.sha256(spec.run_dir.encode()).hexdigest()[:32]
        self._waiting: list[tuple[int, float, dict[str, Scalar]]] = []
        self._count, self._last = 0, -1
        path = SQLiteStorage.init_db(self._project)
        path.chmod(0o600)
        self._storage.delete_run(self._project, self._name, run_id=self._id)
        self.where = from_run(path)
        place = shlex.quote(from_project(spec, folder))
        self.message = f"to look at it: TRACKIO_DIR={place} trackio show --project {self._project}"

    def write(self, record: Record) -> None:
        figures = scalars(record)
        if figures:
            self._last = int(getattr(record, "step", 0))
            self._waiting.append((self._last, record.time, figures))

    def rewind(self, step: int) -> None:
        if self._last > step:
            raise FormatError(f"trackio was given step {self._last} before the run went back to step {step}")

    def flush(self) -> dict[str, Any]:
        if self._waiting:
            self._put(self._waiting, self._config)
            self._count += len(self._waiting)
            self._waiting = []
        return {"rows": self._count}

    def close(self) -> None:
        """Adds the final state to the configuration: trackio has no summary."""
        self.flush()
        status = ending_of(self._run)
        if status is not None and self._count:
            ended = {"summary": summary_of(status)}
            self._put([(self._last, 0.0, {})], {**self._config, **ended}, ids=[f"{self._id}-0"])

    def _put(
        self, rows: list[tuple[int, float, dict[str, Scalar]]], config: dict[str, Any], ids: list[str] | None = None
    ) -> None:
        """One transaction; a row whose id is there already is left out, so that only the configuration changes."""
        self._storage.bulk_log(
            self._project,
            self._name,
            [figures for _, _, figures in rows],
            steps=[step for step, _, _ in rows],
            timestamps=[datetime.fromtimestamp(at, timezone.utc).isoformat() for _, at, _ in rows],
            log_ids=ids or [f"{self._id}-{self._count + place}" for place in range(len(rows))],
            config=config,
            run_id=self._id,
        )


def open(run: RunDir, spec: Spec, mark: dict[str, Any]) -> TrackioLogger:
    if mark:
        raise FormatError("trackio is not cut back to a mark")
    return TrackioLogger(run, spec)


def _folder(run: RunDir) -> Path:
    """`TRACKIO_DIR`, or `trackio/` in the run folder; trackio reads the variable when it is imported."""
    folder = Path(os.environ.get("TRACKIO_DIR") or run.trackio).expanduser().absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ["TRACKIO_DIR"] = str(folder)
    return folder


def _project(spec: Spec) -> str:
    """The project's folder as trackio names files: letters, digits, `_` and `-`."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(spec.project_dir).name).strip("-")[:100]
    reserved = name.startswith("registry-") or "_" in name  # trackio keeps some endings for itself
    return name.replace("_", "-").removeprefix("registry-") if reserved else name or "project"

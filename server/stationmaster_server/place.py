"""Whether a run's folder still lies where it was made: one that was copied or moved is read, and never continued.

The spec names the folders of the project, the run and its checkpoints by their whole paths: a copy that went on would
write over the checkpoints of the run that it was copied from.
"""

from __future__ import annotations

from pathlib import Path

from stationmaster_trainer import rundir
from stationmaster_trainer.contract import Spec
from stationmaster_trainer.errors import RunError
from stationmaster_trainer.rundir import RunDir


def made_at(run: RunDir, spec: Spec) -> str:
    """Where the run was made, when that is not here; empty when it is here, whatever the way that leads to it."""
    return "" if rundir.identity(Path(spec.run_dir)) == rundir.identity(run.path) else spec.run_dir


def is_copy(run: RunDir, spec: Spec) -> bool:
    """Whether the folder that the run was made in still stands, and is another one than this."""
    made = made_at(run, spec)
    return bool(made) and rundir.identity(Path(made)) is not None


def require(run: RunDir, spec: Spec, what: str) -> None:
    """RunError unless the folder lies where it was made. `what`: what cannot be done, as in `resumed`."""
    made = made_at(run, spec)
    if not made:
        return
    again = f"start the same as a new run here: stationmaster reproduce {run.name}."
    if is_copy(run, spec):
        why, way_out = f"this folder is a copy, the run itself is in {made}", f"Go on there, or {again}"
    else:
        why, way_out = f"it was made in {made}, and its folder was moved", f"Move it back, or {again}"
    raise RunError(f"run {run.name} cannot be {what} here: {why}.", way_out)

"""What looking on costs a public script: CPU seconds with the probes beside those without, rounds in turn."""

from __future__ import annotations

import statistics
import subprocess
from pathlib import Path

from .case import Case

RUN = """
import atexit, os, runpy, sys, time
from pathlib import Path
look, trainer, script = sys.argv[1] == "look", sys.argv[2], sys.argv[3]
here = os.getpid()
sys.argv = sys.argv[3:]
sys.path[0] = os.path.dirname(os.path.abspath(script))
if look:
    sys.path.append(trainer)
    from stationmaster_trainer.probes._probe import Probe
    from stationmaster_trainer.probes import _watching
    class Quiet:
        stop_requested = None
        def elapsed(self): return 0.0
        def write(self, record):
            from stationmaster_trainer import codec
            codec.line(record)
        def __getattr__(self, name): return lambda *a, **k: None
    probe = Probe(Quiet(), 10)
    _watching.watch(probe)
def tell():
    if os.getpid() == here:
        Path(os.environ["COST"]).write_text(f"{time.process_time()} {probe.steps if look else 0}")
atexit.register(tell)
runpy.run_path(script, run_name="__main__")
"""


def of(case: Case, folder: Path, environment: dict[str, str], rounds: int) -> str:
    """In percent of the bare script's CPU time, its start included: the median over the rounds, and the extremes."""
    pairs = []
    for number in range(rounds):
        order = ("bare", "look") if number % 2 == 0 else ("look", "bare")
        seconds = {look: _seconds(case, folder, environment, look) for look in order}
        pairs.append(seconds["look"] / seconds["bare"] - 1)
    return f"{statistics.median(pairs):+.1%} ({min(pairs):+.1%} to {max(pairs):+.1%})"


def _seconds(case: Case, folder: Path, environment: dict[str, str], look: str) -> float:
    trainer = Path(__file__).resolve().parents[2] / "trainer"
    told = folder / ".cost"
    command = [environment["STATIONMASTER_PYTHON"], "-c", RUN, look, str(trainer), *case.command[1:]]
    given = {**environment, "COST": str(told)}
    subprocess.run(command, cwd=folder, env=given, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds, steps = told.read_text().split()
    told.unlink()
    if look == "look" and case.steps and int(steps) != case.steps:
        raise RuntimeError(f"{case.name}: {steps} steps were looked at, not {case.steps}")
    return float(seconds)

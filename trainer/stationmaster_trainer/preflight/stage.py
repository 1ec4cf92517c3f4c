"""Where a preflight plays: a folder that is thrown away, the claim on the device, and a fresh process for each part.

A request's `options`: `run` (name of the run to be), `facts` (its DataFacts), `lease` (the device claimed), `share`
(whether another run may use it too). Not covered: what the user's own code writes while it is run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import codec, lease
from ..contract import DataFacts, Failure, Record, Spec, TrainingConfig
from ..errors import FormatError, RunError
from ..facts import Answer, Request
from ..rundir import RunDir

SCRIPT = Path(__file__).parents[1] / "scripts" / "stationmaster_measure.py"
PART_SECONDS = 1500.0
"""After which one process is ended."""


@dataclass(frozen=True)
class Part:
    """What one process did."""

    seen: dict[str, Any] = field(default_factory=dict)
    """See `rehearsal`; empty when it died."""
    records: tuple[Record, ...] = ()
    """Its stream."""
    failure: Failure | None = None
    """Why it could not go on."""
    phase: str = ""
    """In which phase that was."""


@dataclass
class Stage:
    """The folder, and who else uses the device."""

    request: Request
    folder: Path
    beside: str
    parts: int = 0

    @property
    def config(self) -> TrainingConfig:
        """The configuration as proposed."""
        return codec.from_plain(TrainingConfig, self.request.config, "the configuration")

    def spec(self, name: str, **changes: Any) -> Spec:
        """The run in miniature: the configuration with a few keys changed, in a run folder below this one."""
        facts = codec.from_plain(DataFacts, self.request.options["facts"], "the facts")
        quiet: dict[str, Any] = {"actions": {}, "early_stopping_patience": None, "logging": ("file",), "run_name": name}
        config = replace(self.config, **{**quiet, **changes})
        run, checkpoints = self.folder / name, self.folder / f"{name}-checkpoints"
        return Spec(config, facts, self.request.project_dir, str(run), str(checkpoints), "preflight")

    def play(self, spec: Spec, mode: str, attempt: int = 1, **more: Any) -> Part:
        """Runs one part in a fresh process and returns what it saw; what it dies of is a failure, not an error."""
        self.parts += 1
        ask, said = self.folder / f"{self.parts}.request", self.folder / f"{self.parts}.answer"
        options = {"mode": mode, "spec": codec.to_plain(spec), "attempt": attempt, **more}
        ask.write_text(
            codec.dumps(replace(self.request, what="rehearsal", options=options)), "utf-8", "surrogateescape"
        )
        code = self._run([sys.executable, str(SCRIPT), str(ask), str(said)])
        records = _records(RunDir(Path(spec.run_dir)).attempt(attempt).stream)
        answer = _answer(said)
        if answer is None or answer.rehearsal is None:
            return Part({}, records, _died(answer, code), "start")
        failure = answer.rehearsal.get("failure")
        told = codec.from_plain(Failure, failure, "the failure") if failure else None
        return Part(answer.rehearsal, records, told, str(answer.rehearsal.get("phase", "")))

    def _run(self, argv: list[str]) -> int | None:
        """Exit code; None for one that took too long. In this process's group, so that it ends with this one."""
        child = subprocess.Popen(argv, cwd=self.request.project_dir, stdin=subprocess.DEVNULL)  # nosec B603 # no shell
        try:
            return child.wait(PART_SECONDS)
        except subprocess.TimeoutExpired:
            return None
        finally:
            child.kill()
            child.wait()


@contextmanager
def opened(request: Request, work: Path | None) -> Iterator[Stage]:
    """The stage for a request, its folder `work` (None: a temporary one). Raises RunError when the device is taken."""
    with _folder(work) as folder, _claimed(request) as beside:
        yield Stage(request, folder, beside)


@contextmanager
def _folder(work: Path | None) -> Iterator[Path]:
    if work is None:
        folder = Path(tempfile.mkdtemp(prefix="stationmaster-"))
    else:
        folder = work
        folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _claimed(request: Request) -> Iterator[str]:
    """Holds the device as a run would; yields who uses it too, in words."""
    device = str(request.options.get("lease") or "")
    if not device:
        yield ""
        return
    claim = lease.Claim(f"{request.options.get('run', '')} (preflight)", request.project_dir, "")
    try:
        seat = lease.Seat(device, claim)
    except OSError:  # no folder for claims: it is played without one, as nobody can look there
        yield ""
        return
    try:
        ahead = lease.describe(device, seat.ahead())
        if not seat.take(share=bool(request.options.get("share"))):
            raise RunError(f"{ahead}: nothing was tried.", "Wait for it, or propose_config with when_busy share.")
        yield ahead
    finally:
        seat.release()


def yield_memory() -> None:
    """When memory runs out, the kernel shall end this process and no other."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _records(path: Path) -> tuple[Record, ...]:
    from .. import stream

    return tuple(stream.records(path))


def _answer(path: Path) -> Answer | None:
    try:
        return codec.loads(Answer, path.read_bytes(), path.name)
    except (OSError, FormatError):
        return None


def _died(answer: Answer | None, code: int | None) -> Failure:
    """The account of a process that left none."""
    if answer is not None:
        cause, message, way_out = "exception", answer.message, answer.way_out
        return Failure(time.time(), 0.0, 0, cause, answer.error, message, way_out, answer.where, answer.traceback)
    if code is None:
        cause, message = "stalled", f"it took longer than {PART_SECONDS:g} s"
    elif code == -9:
        cause, message = "oom", "it was killed (signal 9): memory ran out, most likely"
    else:
        cause, message = "crash", f"it ended by signal {-code}" if code < 0 else f"it ended with exit code {code}"
    return Failure(time.time(), 0.0, 0, cause, "", message, "", "", "")


def said(message: str) -> None:
    """A line for whoever waits: the last one is shown."""
    print(message, file=sys.stderr, flush=True)

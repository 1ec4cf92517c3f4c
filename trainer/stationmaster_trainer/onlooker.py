"""Looks at a run from outside while no process of it tells anything: through the logs that it writes, else its output.

Costs a small share of one core at most, however long the logs are. Once a process tells, nothing is read any more. Not
covered: what the logs do not say.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from . import process
from .contract import Eval, Launch, Note, Phase, Record, Spec, Started, Train
from .probes import _sight
from .readers import text
from .readers._reading import Reading
from .reporter import Reporter
from .traces import Stamp, Trace, Traces, stamp_of

LOOK_SECONDS = 1.0
SHARE = 0.03
"""Share of one core that reading may take."""
GRACE_SECONDS = 5.0
"""How long figures must have been there without a word of the probe before they are taken."""
REACHED_GRACE_SECONDS = 20.0
"""The same where the probe has been loaded: its word may still come."""
QUIET_SECONDS = 60.0
"""Silence after which it is told that nothing is seen, where the probe was not loaded."""
LIVE_STEPS = 2
"""Different steps that a log must hold before it is followed: one may be of a checkpoint that is continued."""
BEAT_SECONDS = 10.0
BUSY = 0.1
"""Share of a core above which a run of which nothing is seen shows life."""
ROLES = {"loss": "loss", "learning_rate": "learning rate", "grad_norm": "gradient norm", "eval_loss": "validation"}


@dataclass(frozen=True)
class Found:
    """A log that holds a training loss."""

    trace: Trace
    reading: Reading
    records: list[Record]

    @property
    def steps(self) -> int:
        return len({record.step for record in self.records if isinstance(record, Train)})

    @property
    def rows(self) -> int:
        return sum(isinstance(record, Train) for record in self.records)


class Onlooker:
    """One per attempt of a script that runs as it is; made before its process starts."""

    def __init__(self, spec: Spec, launch: Launch, reporter: Reporter) -> None:
        self._reporter, self._project = reporter, Path(spec.project_dir).resolve()
        self._quiet = (min(QUIET_SECONDS, launch.first_stall_seconds), launch.first_stall_seconds)
        self._traces = Traces(self._project)
        self._source: Found | None = None
        self._figures_at: float | None = None
        self._next, self._beat_at = 0.0, time.monotonic()
        self._told = self._over = False
        self._train_step = self._eval_step = 0
        self._size, self._cpu = 0, 0.0
        self.evaluations = 0
        self._thread: threading.Thread | None = None
        self._telling = threading.Lock()
        self._empty: dict[Path, Stamp] = {}
        """Logs without a training loss, as they were then."""

    @property
    def step(self) -> int:
        """Last step that was seen."""
        return max(self._train_step, self._eval_step)

    def look(self, pid: int, *, reached: bool) -> None:
        """From time to time while the run goes on, on a thread. `reached`: the probe is loaded in a process of it."""
        if self._over or time.monotonic() < self._next or (self._thread is not None and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._work, args=(pid, reached), name="onlooker", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """A process tells: nothing is read any more."""
        with self._telling:
            if not self._over and self._told:
                self._reporter.note("a process of the run tells now: its logs are not read any more", self.step)
            self._over = True

    def finish(self) -> None:
        """Everything that is left, once the run's processes are gone."""
        if self._thread is not None:
            self._thread.join()
        if self._over:
            return
        if self._source is not None:
            self._follow(final=True)
        elif (found := self._best()) is not None:
            self._take_up(found, final=True)
        elif not self._told:
            self._tell_blind()

    def _work(self, pid: int, reached: bool) -> None:
        begun = time.monotonic()
        try:
            if self._source is not None:
                self._follow(final=False)
            else:
                self._survey(begun, reached)
            self._beat(begun, pid)
        except OSError:  # a file that goes while it is looked at; of the run's own log the worker takes care
            pass
        self._next = time.monotonic() + max(LOOK_SECONDS, (time.monotonic() - begun) / SHARE)

    def _survey(self, now: float, reached: bool) -> None:
        """Looks for figures; they are taken when they have been there for a while and the probe is silent."""
        found = self._best()
        if found is None:
            if not self._told and self._reporter.elapsed() > self._quiet[reached]:
                self._tell_blind()
            return
        if found.steps < LIVE_STEPS:
            return
        self._figures_at = now if self._figures_at is None else self._figures_at
        if now - self._figures_at >= (REACHED_GRACE_SECONDS if reached else GRACE_SECONDS):
            self._take_up(found, final=False)

    def _follow(self, *, final: bool) -> None:
        """What the source has more than before, or another in its place that says more."""
        before = self._source
        assert before is not None
        better = self._best(above=before)
        if better is not None:
            self._take_up(better, final=final)
            return
        trace = next((one for one in self._logs() if one.path == before.trace.path), None)
        if trace is None or (trace.stamp == before.trace.stamp and before.trace.settled(time.time()) and not final):
            return
        found = _found(trace)
        if found is not None:
            self._source = found
            self._take(found, final)

    def _logs(self) -> list[Trace]:
        """The run's logs and, last, its output."""
        log = self._reporter.attempt.worker_log
        return [*self._traces.changed(), Trace(log, text, 0, log, stamp_of(log))]

    def _best(self, above: Found | None = None) -> Found | None:
        """The first log in which there is a training loss; `above`: of a better kind than this one, with more rows."""
        for trace in self._logs():
            if above is not None and self._rank(trace) >= self._rank(above.trace):
                return None
            if self._empty.get(trace.file) == trace.stamp:
                continue
            found = _found(trace)
            if found is None:
                self._empty[trace.file] = trace.stamp
            elif found.rows > (above.rows if above is not None else 0):
                return found
        return None

    def _rank(self, trace: Trace) -> int:
        return trace.rank + (trace.path == self._reporter.attempt.worker_log)

    def _take_up(self, found: Found, *, final: bool) -> None:
        self._source = found
        self._begin()
        log = found.trace.file
        output = log == self._reporter.attempt.worker_log
        seen = ["steps", *(words for role, words in ROLES.items() if role in found.reading.columns)]
        unseen = [words for role, words in ROLES.items() if role not in found.reading.columns]
        name = log.name if output else log.relative_to(self._project).as_posix()
        self._tell("output" if output else "files", name, seen, unseen)
        self._take(found, final)

    def _tell_blind(self) -> None:
        self._begin()
        self._tell("output", self._reporter.attempt.worker_log.name, ["its last lines", "its end"], ["steps", "loss"])

    def _tell(self, level: str, source: str, seen: list[str], unseen: list[str]) -> None:
        words = f"{_sight.words(level, source, seen, unseen)} No process of the run told anything itself."
        facts = {"sight": words, "sight_level": level}
        self._write(Note(0.0, 0.0, self.step, f"sight of the script: {words}", facts=facts))

    def _begin(self) -> None:
        """The run counts as running; on which device is not known."""
        if not self._told:
            self._told = True
            self._write(Started(time.time(), 0.0, "script", "", "", 0, 0, 0, 0, 0, self.step))

    def _write(self, record: Started | Train | Eval | Note | Phase) -> bool:
        """Tells a record unless a process tells itself by now; whether it did."""
        with self._telling:
            if self._over:
                return False
            if isinstance(record, Train):
                self._train_step = record.step
            elif isinstance(record, Eval):
                self._eval_step = record.step
                self.evaluations += 1
            self._reporter.write(replace(record, time=time.time(), elapsed=self._reporter.elapsed()))
            return True

    def _take(self, found: Found, final: bool) -> None:
        """Tells the records that are new; the last row of a log that is being written may be half of one."""
        whole = final or found.trace.settled(time.time())
        newest = max((record.step for record in found.records if isinstance(record, (Train, Eval))), default=0)
        for record in found.records:
            if not isinstance(record, (Train, Eval)) or (record.step == newest and not whole):
                continue
            done = self._train_step if isinstance(record, Train) else max(self._eval_step, self._train_step - 1)
            if record.step > done and not self._write(record):
                return

    def _beat(self, now: float, pid: int) -> None:
        """A sign of life that is no figure: the output grew, or, where nothing else is seen, processors worked."""
        if now - self._beat_at < BEAT_SECONDS or not self._told:
            return
        size, cpu = stamp_of(self._reporter.attempt.worker_log)[0], process.tree_cpu_seconds(pid)
        busy = self._source is None and cpu - self._cpu > BUSY * (now - self._beat_at)
        if size != self._size or busy:
            self._write(Phase(0.0, 0.0, "train", self.step))
        self._size, self._cpu, self._beat_at = size, cpu, now


def _found(trace: Trace) -> Found | None:
    """What the log holds, when a training loss is in it."""
    reading = trace.read()
    if reading is None:
        return None
    try:
        records = list(reading.records)
    except Exception:  # half a file, or what no reader expects: the next look sees more
        return None
    found = Found(trace, reading, records)
    return found if found.rows else None

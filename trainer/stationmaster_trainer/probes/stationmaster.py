"""`import stationmaster; run = stationmaster.watch(model=model, optimizer=optimizer)`: a script's own word to its run.

Gives checkpoints that a run resumes from, validation figures, the total of steps, and a stop that saves. Outside of a
run everything here does nothing. Not covered: ranks other than the first, and models that are split over processes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import messenger, orders
from ..checkpoint import Label, Saver
from ..control import requests
from ..manifest import verify
from . import _figures, _kept
from ._probe import Probe, Seen

__all__ = ["MODULE", "Run", "watch"]
MODULE = "stationmaster"
SAVE_SECONDS = 600.0
"""Between two checkpoints when the script names no steps."""
STOPS = ("stop.json", "budget_stop.json", "rule_stop.json")
"""Ends of the names of control files that ask a run to save and end."""
SEEN = ("steps", "loss", "learning rate", "gradient norm", "validation as it tells it", "checkpoints")
RESUME = "resume_run: continues from the newest checkpoint; stop_run saves one first"
NO_STATE = "resume_run: not available, the script named nothing to save"


def watch(
    *,
    total_steps: int | None = None,
    save_every: int | None = None,
    trees: Callable[[], Mapping[str, Any]] | None = None,
    **objects: Any,
) -> Run:
    """Tells the run what belongs to its state; in a resumed run, fills it from the newest verified checkpoint.

    Without `objects` and `trees` nothing is saved; figures are told all the same, and `should_stop` still answers.

    `objects`: whatever has `state_dict()` and `load_state_dict()`, by name (`model=`, `optimizer=`, `scheduler=`,
    `scaler=`, `ema=`). `trees`: for JAX, a function that returns the pytrees of the moment by name; after a resume
    they stand in `run.trees`. `total_steps`: optimizer steps of the whole training. `save_every`: steps between
    checkpoints; without it one every ten minutes. A validation that is the best so far is saved as well.

    Raises TypeError for an object without state, and CheckpointError when the checkpoint does not fit the objects.
    """
    _kept.check(objects)
    finder: Any = next((one for one in sys.meta_path if isinstance(getattr(one, "probe", None), Probe)), None)
    probe: Probe | None = finder.probe if finder is not None else None
    if probe is not None and messenger.one_of_several():
        words = "stationmaster.watch: one of several processes trains here: no checkpoints of the run, no resume"
        probe.reporter.note(words, probe.steps, level="warning")
        probe = None
    return Run(probe, total_steps or 0, save_every or 0, trees, objects)


class Run:
    """What `watch` returns. Without a run around it, it counts what it is told and asks for nothing."""

    def __init__(
        self,
        probe: Probe | None,
        total_steps: int,
        save_every: int,
        trees: Callable[[], Mapping[str, Any]] | None,
        objects: Mapping[str, Any],
    ) -> None:
        self.trees: dict[str, Any] = {}
        """After a resume: the pytrees of the checkpoint, by their names."""
        self.resumed = False
        """Whether the state was filled from a checkpoint."""
        self._probe, self._objects, self._trees, self._every = probe, dict(objects), trees, save_every
        self._told = 0
        self._keeper = _Keeper(self, probe, save_every) if probe is not None else None
        if probe is not None and self._keeper is not None:
            self._keeper.resume()
            probe.validation_told = True
            if total_steps:
                probe.expect(total_steps)
            saves = self._keeper.saves
            probe.sight(
                "full", "stationmaster.watch", SEEN if saves else SEEN[:-1], resume=RESUME if saves else NO_STATE
            )

    @property
    def step(self) -> int:
        """Optimizer steps done, those before a resume included."""
        return self._probe.steps if self._probe is not None else self._told

    @property
    def should_stop(self) -> bool:
        """Whether to end now: someone asked, or a limit is reached. Look at it behind each step; the state is saved."""
        return self._keeper is not None and self._keeper.asked()

    def evaluated(self, loss: float | None = None, **metrics: float) -> None:
        """What a validation gave: its mean loss, and further figures by name."""
        if self._keeper is not None:
            value = _figures.plain(loss)
            numbers = {name: _figures.plain(one) for name, one in metrics.items()}
            self._keeper.evaluated(value, {name: one for name, one in numbers.items() if one is not None})

    def stepped(self, loss: Any = None, learning_rate: Any = None, grad_norm: Any = None) -> None:
        """One optimizer step is done, for a loop that cannot be looked into; from then on only these count."""
        self._told += 1
        if self._probe is not None:
            self._probe.driver = "stationmaster.watch"
            self._probe.started("script", "", "", 0)
            with self._probe.harmless("taking a step that the script told"):
                plain = _figures.plain
                self._probe.step(Seen(plain(loss), plain(grad_norm), plain(learning_rate)))

    def save(self) -> None:
        """Saves a checkpoint of this moment and waits for it."""
        if self._keeper is not None:
            self._keeper.save_now()


class _Keeper:
    """Saves the state of a `Run` between two steps, and obeys requests to stop."""

    def __init__(self, run: Run, probe: Probe, every: int) -> None:
        self.run, self.probe, self.every = run, probe, every
        spec = probe.reporter.spec
        directory, project = Path(spec.checkpoint_dir), Path(spec.project_dir)
        reporter = probe.reporter
        self.saver = Saver(
            directory, project, spec.config.keep_checkpoints, spec.digest, reporter.write, reporter.elapsed
        )
        self.saves = bool(run._objects) or run._trees is not None
        """Whether there is state to save."""
        self.asks = False
        """Whether the script looks at `should_stop`."""
        self.first_step, self.saved_step = 0, -1
        self.saved_at = time.monotonic()
        self.begun: tuple[Label, _kept.Copied, dict[str, list[Any]], dict[str, Any]] | None = None
        """A checkpoint whose later part, what follows the optimizer in a step, is still to be copied."""
        self.stop_saved = self.waited = False
        """Whether the state was saved for a request to stop, and whether its signal was held back for that."""
        self.best: float | None = None
        self.owner = os.getpid()
        self.handler: Any = None
        probe.on_step, probe.closing = self._stepped, self._close
        if threading.current_thread() is threading.main_thread():
            self.handler = signal.signal(signal.SIGTERM, self._terminated)

    def resume(self) -> None:
        """Fills the script's state from the checkpoint that this attempt continues from. Raises CheckpointError."""
        self.saver.prepare()
        launch = orders.read(self.probe.reporter.attempt)
        if launch.resume_from is None:
            return
        folder = Path(launch.resume_from)
        found = verify(folder)
        _kept.put_back(folder, self.run._objects)
        self.run.trees = _kept.trees_back(folder, self.run._trees)
        _kept.restore_randomness(folder)
        self.run.resumed, self.probe.steps = True, found.step
        self.first_step = self.saved_step = found.step
        self.run._told, self.best = found.step, found.eval_loss if found.best else None
        self.saver.best_step = found.step if found.best else None

    def asked(self) -> bool:
        """Whether to stop; then the state of this moment has been saved."""
        self.asks = True
        if self.saves and self.probe.reporter.checkpoint_requested:
            self.save_now()
            self.probe.reporter.ack(self.probe.steps)
        if self.probe.reporter.stop_requested is None:
            return False
        if self.saves and self.probe.steps != self.saved_step:
            self.save_now()
        return True

    def evaluated(self, loss: float | None, metrics: dict[str, float]) -> None:
        self.probe.evaluated(loss, metrics)
        best = loss is not None and loss == loss and (self.best is None or loss < self.best)
        if best:
            self.best = loss
        if best and self.saves and self.probe.steps:
            with self.probe.harmless("saving the best state so far"):
                self._begin(Label(self.probe.steps, {}, True, loss, metrics))

    def save_now(self) -> None:
        """Saves this moment, waits until it is on the disk; a failure is told."""
        if not self.saves:
            return
        with self.probe.harmless("saving a checkpoint"):
            self.begun = None
            self._begin(Label(self.probe.steps, {}))
            self._complete()
            self.saver.wait()

    def _stepped(self) -> None:
        """Behind an optimizer's step: what follows the optimizer (scheduler, scaler) has followed the step before."""
        reporter, step = self.probe.reporter, self.probe.steps
        if not self.saves:
            return
        stops = reporter.stop_requested is not None and not self.asks
        with self.probe.harmless("saving a checkpoint"):
            self._complete()
            if stops and self.stop_saved:
                self.saver.wait()
            elif stops or self._due(step) or reporter.checkpoint_requested:
                self._begin(Label(step, {}))
        if stops and self.stop_saved:
            self._pass_on(signal.SIGTERM)

    def _due(self, step: int) -> bool:
        if step == self.probe.total_steps:
            return True
        return step % self.every == 0 if self.every else time.monotonic() - self.saved_at > SAVE_SECONDS

    def _begin(self, label: Label) -> None:
        """Copies model, optimizer and random state now."""
        first = {name: one for name, one in self.run._objects.items() if not _follows(one)}
        self.begun = (label, _kept.copy_of(first), _kept.leaves_of(self.run._trees), _kept.randomness())

    def _complete(self) -> None:
        """Copies the rest and has it written in the background."""
        if self.begun is None:
            return
        (label, copied, leaves, randomness), self.begun = self.begun, None
        last = {name: one for name, one in self.run._objects.items() if _follows(one)}
        taken = _kept.snapshot({**copied, **_kept.copy_of(last)}, leaves, randomness)
        self.saver.save(label, lambda: taken)
        self.saved_step, self.saved_at = label.step, time.monotonic()
        reporter = self.probe.reporter
        if reporter.checkpoint_requested and reporter.stop_requested is None:
            reporter.ack(label.step)
        self.stop_saved = reporter.stop_requested is not None

    def _close(self) -> None:
        """The script is over: what was begun is written to its end."""
        if os.getpid() == self.owner:
            self._complete()
            self.saver.wait()

    def _terminated(self, number: int, frame: Any) -> None:
        """The first signal that a request to stop became is held back until the state is saved, or for `should_stop`.

        Others go their way.
        """
        goes_on = self.asks or (self.saves and self.probe.steps > self.first_step)
        if os.getpid() == self.owner and goes_on and not self.waited and self._wanted():
            self.waited = True
            return
        self._pass_on(number)

    def _wanted(self) -> bool:
        """Whether somebody asked this run to stop; the reporter may not have seen it yet."""
        reporter = self.probe.reporter
        asked = (name.partition("-")[2] for name in requests(reporter.attempt))
        return reporter.stop_requested is not None or any(name in STOPS for name in asked)

    def _pass_on(self, number: int) -> None:
        """To whoever handled the signal before."""
        signal.signal(number, self.handler if self.handler is not None else signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _follows(one: Any) -> bool:
    """Whether it moves behind the optimizer within a step: neither a module nor an optimizer of PyTorch."""
    torch = sys.modules.get("torch")
    return torch is None or not isinstance(one, (torch.nn.Module, torch.optim.Optimizer))

"""Readers beside the kills: every small file whole at every look, every state derivable, no success without proof."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from pathlib import Path

from stationmaster_server import runs
from stationmaster_trainer import manifest, stream
from stationmaster_trainer.contract import Eval, Finished, Train
from stationmaster_trainer.errors import CheckpointError, StationmasterError
from stationmaster_trainer.rundir import RUNS, AttemptDir, RunDir

from .account import Account

PAUSE, SHARE = 0.05, 5.0
"""Least seconds between two rounds, and how many times as long as a round: the cores are for the runs."""


class Readers:
    """A thread that reads every file of a project's runs again and again; `with` starts and ends it."""

    def __init__(self, project: Path, total_steps: int, account: Account) -> None:
        self._project, self._total, self._account = project, total_steps, account
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._done: dict[Path, tuple[int, int, int]] = {}
        self._proved: set[tuple[str, int]] = set()
        self.finished: set[str] = set()
        """Runs that nothing writes to any more; a last look has been taken at them."""

    def __enter__(self) -> Readers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._round()

    def _loop(self) -> None:
        pause = PAUSE
        while not self._over.wait(pause):
            begun = time.thread_time()
            self._round()
            pause = max(PAUSE, SHARE * (time.thread_time() - begun))

    def _round(self) -> None:
        for entry in sorted((self._project / RUNS).glob("[!.]*")):
            run = RunDir(entry)
            if run.name in self.finished:
                continue
            try:
                self._view(run)
                for path in [*run.path.glob("*.json"), *run.path.glob("attempts/[0-9]*/*.json")]:
                    self._json(path)
                for path in run.path.glob("attempts/[0-9]*/control/*.json"):
                    self._json(path)
                for attempt in run.attempts():
                    self._lines(attempt.stream)
                    self._lines(attempt.alerts)
                for path in (self._project / "checkpoints" / run.name).glob("checkpoint-*/manifest.json"):
                    self._json(path)
            except Exception as error:  # whatever a reader raises is a finding
                self._account.fault("unreadable states", f"{run.name}: {type(error).__name__}: {error}")

    def _view(self, run: RunDir) -> None:
        seen = runs.view(run)
        if seen.problems:
            self._account.fault("unreadable states", f"{run.name}: {seen.problems[0]}")
        if seen.state == "succeeded" and (run.name, seen.attempt) not in self._proved:
            self._proved.add((run.name, seen.attempt))
            why = disproof(run, self._project, self._total)
            if why:
                self._account.fault("false successes", f"{run.name}, attempt {seen.attempt}: {why}")

    def _json(self, path: Path) -> None:
        data = self._changed(path)
        if data is not None:
            try:
                json.loads(data)
            except ValueError as error:
                self._account.fault("unreadable states", f"{path} ({len(data)} bytes): {error}")

    def _lines(self, path: Path) -> None:
        """Whole lines only: what stands behind the last line break was still being written."""
        for line in (self._changed(path) or b"").split(b"\n")[:-1]:
            try:
                json.loads(line)
            except ValueError as error:
                self._account.fault("unreadable states", f"{path}: {line[:80]!r}: {error}")

    def _changed(self, path: Path) -> bytes | None:
        """The content when it is another than at the last look."""
        try:
            found = path.stat()
            mark = (found.st_ino, found.st_mtime_ns, found.st_size)
            if self._done.get(path) == mark:
                return None
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        self._done[path] = mark
        self._account.looks += 1
        return data


def disproof(run: RunDir, project: Path, total_steps: int) -> str:
    """Why a success is none; empty when it is one."""
    finished = [record for _, record in stream.merged(run) if isinstance(record, Finished)]
    if not finished or (finished[-1].reason, finished[-1].step) != ("completed", total_steps):
        return f"no finished record at step {total_steps}: {finished[-1:]}"
    try:
        manifest.verify(project / "checkpoints" / run.name / f"checkpoint-{total_steps}")
    except (StationmasterError, OSError) as error:
        return f"the last checkpoint does not verify: {error}"
    return ""


def history(run: RunDir) -> list[tuple[object, ...]]:
    """What every step and validation showed, over all attempts, without superseded records."""
    found: list[tuple[object, ...]] = []
    for _, record in stream.merged(run):
        if isinstance(record, Train):
            figures = (record.loss, record.grad_norm, record.learning_rate)
            found.append((record.step, record.samples, record.epoch, *figures, record.worst_samples))
        elif isinstance(record, Eval):
            found.append((record.step, record.loss, record.loss_sem, tuple(sorted(record.metrics.items()))))
    return found


def rows(run: RunDir) -> list[tuple[object, ...]]:
    """Steps and losses as `metrics.jsonl` holds them."""
    lines = [json.loads(line) for line in run.metrics_jsonl.read_text().splitlines()]
    return [(line["step"], line.get("train/loss"), line.get("eval/loss")) for line in lines]


def weights(project: Path, run: RunDir) -> dict[str, str]:
    """SHA-256 of the model's files in the last checkpoint."""
    newest = manifest.newest_verified(project / "checkpoints" / run.name)
    if newest.manifest is None:
        raise CheckpointError(f"{run.name} has no verified checkpoint")
    files = newest.manifest.files
    return {name: entry.sha256 for name, entry in files.items() if name.endswith((".safetensors", ".weights"))}


class Shelf:
    """Results that must never change again: files of ended attempts, and whole finished runs with their checkpoints."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._kept: dict[Path, str] = {}

    def keep_attempt(self, attempt: AttemptDir) -> None:
        """The attempt is over and another one is about to begin."""
        for path in (attempt.launch, attempt.stream, attempt.alerts, attempt.final, attempt.environment):
            if path.exists():
                self._kept[path] = _hash(path)

    def keep_run(self, project: Path, run: RunDir) -> None:
        """The run has succeeded and its processes are gone."""
        for folder in (run.path, project / "checkpoints" / run.name):
            for path in folder.rglob("*"):
                if path.is_file() and not path.name.endswith(".pyc"):
                    self._kept[path] = _hash(path)

    def check(self) -> None:
        """Compares everything."""
        for path, wanted in self._kept.items():
            try:
                found = _hash(path)
            except OSError as error:
                found = str(error)
            if found != wanted:
                self._account.fault("overwritten results", str(path))


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""Runs a training script as it is, in the worker's process: its arguments, folder and exit code; probes look on.

The script is what was confirmed, byte for byte. Not covered: looking into processes that the script starts itself.
"""

from __future__ import annotations

import ast
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

from . import confirmed, entry
from .contract import Failure, Finished, Launch, Spec
from .errors import ModelError
from .probes._probe import Probe
from .probes._watching import watch
from .reporter import Outcome, Reporter

LOOK_SECONDS = 0.25


def train(spec: Spec, launch: Launch, reporter: Reporter) -> Outcome:
    """Runs the script to its end. Raises what the script raises; a `SystemExit` before its end is no success."""
    path = entry.resolve(spec.config.model_path, Path(spec.project_dir))
    loader = confirmed.loader("__main__", path)
    if loader is None:
        raise ModelError(f"{path.name} is not held as it was confirmed.")
    code = loader.get_code("__main__")
    assert code is not None  # a source file's loader compiles or raises
    probe, began = Probe(reporter, spec.config.log_every), time.perf_counter()
    ending = _Ending(probe, began)
    with probe.harmless("getting ready"):
        watch(probe)
    ending.listen()
    try:
        _execute(code, path, spec.config.script_args, launch.env)
    except SystemExit as stop:
        _judge_exit(stop, loader.get_data(str(path)), path, ending, spec)
    finally:
        ending.over = True
        with probe.harmless("writing the last steps"):
            probe.close()
    if spec.config.val_data != "none" and probe.steps and not probe.evaluations:
        reporter.note("no validation was seen while the script ran", probe.steps, level="warning")
    return Outcome(reporter.stop_requested or "script_ended", probe.steps, probe.samples, time.perf_counter() - began)


class _Ending:
    """Turns a request to stop into SIGTERM, which the script may handle; otherwise its end is told before it comes."""

    def __init__(self, probe: Probe, began: float) -> None:
        self.probe, self.began = probe, began
        self.over = False
        self.owner = os.getpid()

    def listen(self) -> None:
        signal.signal(signal.SIGTERM, self._terminated)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Thread(target=self._pass_on, name="stationmaster-stop", daemon=True).start()

    def _pass_on(self) -> None:
        while not self.over:
            if self.probe.reporter.stop_requested is not None:
                os.kill(self.owner, signal.SIGTERM)
                return
            time.sleep(LOOK_SECONDS)

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        """Unless the script put a handler of its own in place of this one."""
        if os.getpid() == self.owner and not self.over:
            self.over = True
            with self.probe.harmless("telling the end"):
                self._tell()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _tell(self) -> None:
        probe, reporter = self.probe, self.probe.reporter
        probe.flush()
        if reporter.stop_requested is not None:
            reporter.ack(probe.steps)
            seconds = time.perf_counter() - self.began
            reason: str = reporter.stop_requested
            reporter.write(Finished(time.time(), reporter.elapsed(), probe.steps, reason, seconds, probe.samples))
        reporter.flush()


def _execute(code: CodeType, path: Path, arguments: tuple[str, ...], env: Mapping[str, str]) -> None:
    """As `python script.py arguments` does it: a new `__main__`, the script's folder first on the path."""
    here = str(Path(__file__).resolve().parents[1])  # the run's lib/
    named = [part for part in env.get("PYTHONPATH", "").split(os.pathsep) if part]
    rest = [part for part in sys.path if part and os.path.abspath(part) != here and part not in named]
    sys.path[:] = [str(path.parent), *named, *rest]
    sys.argv[:] = [str(path), *arguments]
    main = ModuleType("__main__")
    main.__dict__.update(__file__=str(path), __builtins__=__builtins__, __cached__=None)
    sys.modules["__main__"] = main
    exec(code, main.__dict__)  # nosec B102 # the confirmed script is what this process is for
    for thread in threading.enumerate():  # as the interpreter does before it leaves
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()


def _judge_exit(stop: SystemExit, source: bytes, path: Path, ending: _Ending, spec: Spec) -> None:
    """Returns when the script left with code 0 from its last statement or because it was asked to; else raises on."""
    ending.over = True
    probe = ending.probe
    line = _line(stop, path)
    if stop.code in (None, 0) and (probe.reporter.stop_requested is not None or line in _last_lines(source)):
        return
    with probe.harmless("writing the last steps"):
        probe.flush()
    where = f"{path.relative_to(Path(spec.project_dir).resolve())}:{line}" if line else path.name
    said = repr(stop.code)[:300] if stop.code is not None else ""
    reporter = probe.reporter
    words = f"sys.exit({said}) at {where}, before the end of the script; {probe.steps} optimizer steps seen"
    way_out = "Look at that line: the script itself chose to end there."
    time_, elapsed = time.time(), reporter.elapsed()
    reporter.write(Failure(time_, elapsed, probe.steps, "exited_early", "SystemExit", words, way_out, where, ""))
    reporter.flush()
    raise stop


def _line(stop: SystemExit, path: Path) -> int:
    """Line of the script's innermost frame that the exit came through."""
    found, step = 0, stop.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == str(path):
            found = step.tb_lineno
        step = step.tb_next
    return found


def _last_lines(source: bytes) -> set[int]:
    """Lines of the statements behind which a script at its top level has nothing left to do."""
    lines: set[int] = set()
    bodies: list[Any] = [ast.parse(source).body]
    while bodies:
        body = bodies.pop()
        if not body:
            continue
        last = body[-1]
        if isinstance(last, (ast.If, ast.With, ast.Try)):
            bodies += [last.body, getattr(last, "orelse", [])]
            bodies += [handler.body for handler in getattr(last, "handlers", [])]
        elif isinstance(last, (ast.Expr, ast.Raise)):
            lines |= set(range(last.lineno, (last.end_lineno or last.lineno) + 1))
    return lines

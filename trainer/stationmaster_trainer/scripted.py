"""Runs a training script as it is, in this process: its arguments, folder and exit code; probes look on.

The script is what was confirmed, byte for byte. The worker started this process and says how the run ended
(`adopted.py`).
"""

from __future__ import annotations

import ast
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, cast

from . import codec, confirmed, entry, messenger, redact, rundir
from .contract import Failure, Launch, Spec
from .errors import ModelError
from .messenger import Messenger
from .probes._probe import Probe
from .probes._watching import watch
from .reporter import Reporter
from .rundir import AttemptDir

REACH = Path(__file__).parent / "reach"
"""Folder that carries the probe into Python processes below: first on their PYTHONPATH."""


def main(attempt_path: str) -> int:
    """Runs the script to its end and returns the exit code; what the script raises is told and printed as ever."""
    attempt = AttemptDir(Path(attempt_path))
    launch = codec.loads(Launch, rundir.read(attempt.launch), "launch.json")
    voice = Messenger(attempt)
    probe = Probe(cast(Reporter, voice), voice.spec.config.log_every)
    try:
        _run(voice, launch, probe)
        return 0
    except SystemExit:
        raise
    except BaseException as error:
        sys.stderr.write(redact.text(traceback.format_exc(), redact.values()))
        messenger.tell_failure(attempt, error, voice.spec, voice.step, voice.elapsed())
        return 1
    finally:
        voice.close()


def _run(voice: Messenger, launch: Launch, probe: Probe) -> None:
    spec = voice.spec
    confirmed.hold(spec)
    path = entry.resolve(spec.config.model_path, Path(spec.project_dir))
    loader = confirmed.loader("__main__", path)
    if loader is None:
        raise ModelError(f"{path.name} is not held as it was confirmed.")
    code = loader.get_code("__main__")
    assert code is not None  # a source file's loader compiles or raises
    ending = _Ending(probe)
    with probe.harmless("getting ready"):
        watch(probe)
    ending.listen()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(REACH), *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        _execute(code, path, spec.config.script_args, launch.env)
    except SystemExit as stop:
        _judge_exit(stop, loader.get_data(str(path)), path, ending, spec)
    finally:
        ending.over = True
        with probe.harmless("writing the last steps"):
            probe.close()


class _Ending:
    """Puts the last steps on disk before a SIGTERM ends the script, which may handle it itself."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.over = False
        self.owner = os.getpid()

    def listen(self) -> None:
        signal.signal(signal.SIGTERM, self._terminated)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        """Unless the script put a handler of its own in place of this one."""
        if os.getpid() == self.owner and not self.over:
            self.over = True
            with self.probe.harmless("telling the end"):
                self.probe.flush()
                self.probe.reporter.flush()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


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
    told = Failure(
        time.time(), reporter.elapsed(), probe.steps, "exited_early", "SystemExit", words, way_out, where, ""
    )
    messenger.leave(reporter.attempt, told)
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

"""An adapter that trains nothing but behaves like one: standard library only, its faults set by `config.extra`.

The tests put it into a run's `lib/` in place of a real one.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ..contract import Checkpoint, Eval, Launch, Spec
from ..reporter import Outcome, Reporter
from ..window import Window


def train(spec: Spec, launch: Launch, reporter: Reporter) -> Outcome:
    """`extra`: `sleep` seconds per step, `fault` at step `at`, `save_seconds`, `eval_seconds`."""
    extra: dict[str, Any] = spec.config.extra
    sys.path.insert(1, spec.project_dir)
    if extra.get("ignore_sigterm"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        subprocess.Popen([sys.executable, "-c", code, spec.project_dir])
        subprocess.Popen([sys.executable, "-c", code, spec.project_dir], start_new_session=True)
    begun = time.perf_counter()
    config = spec.config
    window = Window()
    reporter.started("cpu", "fp32", launch.resume_step)
    step = launch.resume_step
    while step < config.total_steps:
        step += 1
        time.sleep(extra.get("sleep", 0.002))
        loss = 2.0 * math.exp(-step / 100)
        if step == extra.get("at"):
            print(extra.get("says", ""), end="", flush=True)
            loss = _fault(extra, loss)
        window.add(step, loss, 1.0, config.batch_size, config.learning_rate, indices=range(8))
        reporter.beat(step)
        save = step % config.checkpoint_every == 0 or step == config.total_steps
        if step % config.log_every == 0 or save:
            samples = step * config.batch_size
            reporter.write(window.take(elapsed=reporter.elapsed(), epoch=step / 100, samples=samples))
        if save or (reporter.checkpoint_requested and not extra.get("deaf")):
            with window.paused():
                _save(spec, reporter, step, loss)
            reporter.ack(step)
        reason = reporter.stop_requested
        if reason is not None and not extra.get("deaf"):
            time.sleep(extra.get("save_seconds", 0.0))
            if not save:
                _save(spec, reporter, step, loss)
            return Outcome(reason, step, step * config.batch_size, time.perf_counter() - begun)
    return Outcome("completed", step, step * config.batch_size, time.perf_counter() - begun)


def _save(spec: Spec, reporter: Reporter, step: int, loss: float) -> None:
    reporter.phase("eval", step)
    time.sleep(spec.config.extra.get("eval_seconds", 0.0))
    reporter.write(Eval(time.time(), reporter.elapsed(), step, loss * 1.1, {"accuracy": 1 - loss / 3}, 100, 0.01))
    folder = Path(spec.checkpoint_dir) / f"checkpoint-{step}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model").write_text(str(step))
    path = str(folder.relative_to(spec.project_dir))
    reporter.write(Checkpoint(time.time(), reporter.elapsed(), step, path, 4, 0.01, 0.001, best=True, eval_loss=loss))
    reporter.phase("train", step)


def _fault(extra: dict[str, Any], loss: float) -> float:
    kind = extra["fault"]
    if kind == "exception":
        import user_code

        user_code.forward([1, 2, 3])
    elif kind == "memory":
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
    elif kind == "exit":
        sys.exit(0)
    elif kind == "exit_hard":
        os._exit(0)
    elif kind == "abort":
        os.abort()
    elif kind == "hang":
        time.sleep(extra.get("hang_seconds", 600))
    elif kind == "eat":
        eaten = []
        while True:
            eaten.append(b"\1" * (1 << 20))
    elif kind == "limit":
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        bytearray(1 << 31)
    elif kind == "small_files":
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
    elif kind == "torch_oom":  # the class's name is what torch's own is known by
        raise type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 2.00 GiB.")
    elif kind == "chatter":
        line = b"\x1b[31m" + b"x" * 1_000_000 + b"\n"
        for _ in range(40):
            os.write(1, line)
    elif kind == "nan":
        return math.nan
    return loss

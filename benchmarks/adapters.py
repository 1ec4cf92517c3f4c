"""What a run costs beside what an expert would write: speed and memory of each adapter, supervisor and recorder on.

    python benchmarks/adapters.py [--rounds 5] [--threads 1] [--cases pytorch,transformers,flax] [--write FILE]

`plain` is a loop of PyTorch with a fused AdamW, Transformers' own Trainer, or a jitted step of optax; `ours` is a run
as the server starts it: supervisor, worker and recorder, every step watched, validation, verified checkpoints. Same
model, data, order, batch, precision and threads, a fresh process for each; rounds are interleaved and their order
turns. Losses that are not nearly equal end the benchmark: that would be other work. Times are of steps alone
(validation and saving left out), the median window of ten and the best one; `with all` has everything from the first
logged step to the end, `CPU` the same in seconds of the training process alone. Absolute times drift on shared
machines: what counts is the ratio within one round, and beside other work the CPU. Not covered: the start of the
processes; GPUs.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import measured
import overhead
import trainer

from stationmaster_server import runs
from stationmaster_server.demo import __file__ as demo
from stationmaster_trainer import contract, process, stream
from stationmaster_trainer.rundir import RunDir

CASES: dict[str, dict[str, Any]] = {
    "pytorch": {"steps": 450, "batch": 32, "rows": 1440, "chunk": 10, "every": 225},
    "transformers": trainer.CASES["tiny"],
    "flax": {"steps": 450, "batch": 32, "rows": 1440, "chunk": 10, "every": 225},
}
"""The demonstration's network on its digits, written for PyTorch and for NNX; a tiny Llama from a configuration."""
PLAIN = {"pytorch": "a plain loop, fused AdamW", "transformers": "plain Trainer", "flax": "a plain jitted loop"}
RATE, SEED, LOG = overhead.RATE, overhead.SEED, 10
NEARLY = {"pytorch": 1e-3, "transformers": 1e-3, "flax": 1e-2}
"""Relative difference of the losses up to which both did the same work. Optax rounds otherwise than we when it clips
(the losses agree to 1e-6 over ten steps, to 3e-5 over sixty), and hundreds of steps make more of it."""
FINAL = ("succeeded", "failed", "stopped", "lost")
NNX = '''
from flax import nnx


class DigitNet(nnx.Module):
    """64 grey values a row → one logit for each of the digits."""

    def __init__(self, num_classes: int = 10, *, rngs: nnx.Rngs):
        self.first = nnx.Conv(1, 32, (3, 3), rngs=rngs)
        self.second = nnx.Conv(32, 64, (3, 3), rngs=rngs)
        self.third = nnx.Linear(64 * 4 * 4, 64, rngs=rngs)
        self.last = nnx.Linear(64, num_classes, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.second(nnx.relu(self.first(x.reshape(-1, 8, 8, 1)))))
        x = nnx.max_pool(x, (2, 2), (2, 2)).reshape(len(x), -1)
        return self.last(nnx.relu(self.third(x)))
'''


def prepare(name: str, folder: Path) -> None:
    """The project of a case, the same for both."""
    if name == "transformers":
        trainer.make_project(folder, CASES[name])
        return
    import numpy as np
    from sklearn.datasets import load_digits

    digits, rows = load_digits(), CASES[name]["rows"]
    x, y = (digits.data / 16).astype(np.float32), digits.target.astype(np.int64)
    np.savez(folder / "data.npz", x=x[:rows], y=y[:rows])
    np.savez(folder / "val.npz", x=x[rows:], y=y[rows:])
    torch_model = (Path(demo).parent / "project" / "model.py").read_text()
    factory = "\n\ndef build_model():\n    return DigitNet()\n"
    (folder / "model.py").write_text(NNX if name == "flax" else torch_model + factory)


def settings(name: str, threads: int) -> contract.TrainingConfig:
    """The configuration of our side."""
    case = CASES[name]
    if name == "transformers":
        return replace(trainer.settings(case), num_threads=threads, device="cpu")
    return contract.TrainingConfig(
        model_path="model.py", framework=name, train_data="data.npz", val_data="val.npz",  # type: ignore[arg-type]
        batch_size=case["batch"], gradient_accumulation=1, optimizer="AdamW", learning_rate=RATE, weight_decay=0.01,
        betas=(0.9, 0.999), warmup_steps=0, lr_schedule="constant", total_steps=case["steps"], gradient_clip=1.0,
        dropout=None, checkpoint_every=case["every"], checkpoint_dir="", log_every=LOG, validate_every=case["every"],
        logging=("file",), run_name="", task="classification", epochs=case["steps"] * case["batch"] / case["rows"],
        seed=SEED, scale_inputs=False, num_threads=threads, device="cpu",
    )  # fmt: skip


def plain_flax(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """The loop that a person would write with optax and Orbax."""
    from functools import partial

    import jax
    import numpy as np
    import optax
    import orbax.checkpoint as ocp
    from flax import nnx

    from stationmaster_trainer import order

    scope: dict[str, Any] = {}
    exec((folder / "model.py").read_text(), scope)
    graph, params, rest = nnx.split(scope["DigitNet"](rngs=nnx.Rngs(SEED)), nnx.Param, ...)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(RATE, weight_decay=0.01))
    state = optimizer.init(params)

    def mean(params: Any, x: Any, y: Any) -> Any:
        logits = nnx.merge(graph, params, rest)(x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @partial(jax.jit, donate_argnums=(0, 1))
    def advance(params: Any, state: Any, x: Any, y: Any) -> tuple[Any, Any, Any]:
        loss, gradients = jax.value_and_grad(mean)(params, x, y)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    score = jax.jit(mean)
    train, val = (dict(np.load(folder / f"{name}.npz")) for name in ("data", "val"))
    clock, saver, found = overhead.Clock(case["chunk"]), ocp.StandardCheckpointer(), math.nan
    for step in range(1, case["steps"] + 1):
        rows = order.batch_indices(SEED, step - 1, case["batch"], case["rows"])
        params, state, loss = advance(params, state, train["x"][rows], train["y"][rows])
        if step % LOG == 0:
            float(loss)
        clock.step(step)
        if step % case["every"] == 0:
            with clock.paused():
                found = float(score(params, val["x"], val["y"]))
                saver.save(folder / f"plain-{os.getpid()}-{step}", {"params": nnx.to_pure_dict(params), "state": state})
                saver.wait_until_finished()
    saver.close()
    return clock.result(found)


def plain_torch(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """The loop of `overhead.py`."""
    return overhead.run_bare(folder, case, fused=True)


PLAINS: dict[str, Callable[[Path, dict[str, Any]], dict[str, Any]]] = {
    "pytorch": plain_torch,
    "transformers": trainer.run_plain,
    "flax": plain_flax,
}


def plain(name: str, folder: Path, threads: int) -> dict[str, Any]:
    """The plain equivalent in a fresh process."""
    command = [sys.executable, __file__, "--one", str(folder), "--cases", name, "--threads", str(threads)]
    done = subprocess.run(command, env={**os.environ, **quiet(threads)}, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise SystemExit(f"the plain {name} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def ours(name: str, folder: Path, threads: int, turn: int) -> dict[str, Any]:
    """A run as the server starts it, and the peaks of its processes."""
    asked = f"run-{turn}"
    config = replace(settings(name, threads), run_name=asked, checkpoint_dir=f"checkpoints/{asked}")
    facts = contract.DataFacts(CASES[name].get("rows", trainer.ROWS), 1, 1, 1, 1)
    places = (str(folder / part / asked) for part in ("runs", "checkpoints"))
    run = runs.create_run(contract.Spec(config, facts, str(folder), *places, "0" * 64), "", {"gates": []})
    runs.start_attempt(run, sys.executable, env=quiet(threads))
    seen = watched(run)
    state = runs.view(run).status
    if state.state != "succeeded":
        raise SystemExit(f"our {name} {state.state}: {state.message}\n{run.attempt(1).worker_log.read_text()[-2000:]}")
    return {**figures(run, name, seen), **seen.memory()}


@dataclass
class Watched:
    """What was seen of a run's processes until it ended."""

    peaks: dict[tuple[str, int], float] = field(default_factory=dict)
    """(role, pid) → peak resident memory in MB."""
    cpu: list[tuple[float, float]] = field(default_factory=list)
    """Wall clock and CPU seconds of the worker."""

    def memory(self) -> dict[str, float]:
        """By role; the worker's (`rss`) with its children."""
        roles = {role for role, _ in self.peaks}
        return {role: sum(size for (other, _), size in self.peaks.items() if other == role) for role in roles}

    def cpu_since(self, start: float) -> float:
        """CPU seconds of the worker from `start` to its end."""
        before = [one for one in self.cpu if one[0] <= start][-1]
        after = next(one for one in self.cpu if one[0] > start)
        share = (start - before[0]) / (after[0] - before[0])
        return self.cpu[-1][1] - before[1] - share * (after[1] - before[1])


def watched(run: RunDir) -> Watched:
    """Looks at the processes of a run until they are gone."""
    found = Watched()
    while True:
        view = runs.view(run)
        for role, pid in members(view.status):
            found.peaks[role, pid] = max(found.peaks.get((role, pid), 0.0), peak(pid))
            if role == "rss" and (seconds := cpu_seconds(pid)):
                found.cpu.append((time.time(), seconds))
        if view.state in FINAL and not view.alive:
            return found
        time.sleep(0.05)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process; 0 once it is gone."""
    try:
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def members(status: contract.Status) -> Iterator[tuple[str, int]]:
    """(role, pid) of each process of a run."""
    worker = status.worker.pid if status.worker else 0
    if status.supervisor is None:
        return
    yield "supervisor", status.supervisor.pid
    below = set(process.descendants(worker)) | {worker} if worker else set()
    for pid in process.descendants(status.supervisor.pid):
        yield ("rss" if pid in below else "recorder"), pid


def peak(pid: int) -> float:
    """Peak resident memory of a process in MB; 0 once it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) / 1024 if found else 0.0


def figures(run: RunDir, name: str, seen: Watched) -> dict[str, float]:
    """Milliseconds a step from the stream, as the plain side measures them, and the loss to compare."""
    records = list(stream.records(run.attempt(1).stream))
    trains = [record for record in records if isinstance(record, contract.Train)]
    evals = [record for record in records if isinstance(record, contract.Eval)]
    (finished,) = (record for record in records if isinstance(record, contract.Finished))
    steps = [1e3 * one.window_samples / one.samples_per_second / one.steps for one in trains[1:]]
    whole = (finished.elapsed - trains[0].elapsed) / (finished.step - trains[0].step)
    loss = trains[-1].loss if name == "transformers" else evals[-1].loss
    cpu = seen.cpu_since(trains[0].time) / (finished.step - trains[0].step)
    times = {"step": statistics.median(steps), "best": min(steps), "whole": 1e3 * whole, "cpu_whole": 1e3 * cpu}
    return {**times, "loss": loss}


def quiet(threads: int) -> dict[str, str]:
    """The same variables for both."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NPROC", "PJRT_NPROC")
    fixed = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "HF_HUB_OFFLINE": "1", "JAX_PLATFORMS": "cpu"}
    return {**fixed, **dict.fromkeys(names, str(threads))}


def compare(name: str, rounds: int, threads: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(plain, ours) for each round. SystemExit when they have not done the same work."""
    found = []
    with tempfile.TemporaryDirectory(prefix=f"adapters-{name}-") as made:
        folder = Path(made).resolve()
        prepare(name, folder)
        for turn in range(rounds):
            if turn % 2:
                second = ours(name, folder, threads, turn)
                first = plain(name, folder, threads)
            else:
                first = plain(name, folder, threads)
                second = ours(name, folder, threads, turn)
            if not math.isclose(first["loss"], second["loss"], rel_tol=NEARLY[name]):
                raise SystemExit(f"{name}: loss {first['loss']:.6f} of the plain loop, {second['loss']:.6f} of ours.")
            found.append((first, second))
            print(f"{name} {turn + 1}/{rounds}: {first['step']:.2f} and {second['step']:.2f} ms", file=sys.stderr)
    return found


def row(name: str, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[str]:
    """A line of the table: medians over the rounds, ratios within a round with their extremes."""

    def median(side: int, key: str) -> float:
        return statistics.median(pair[side][key] for pair in pairs)

    def ratio(key: str) -> str:
        found = [second[key] / first[key] for first, second in pairs]
        return f"{statistics.median(found):.2f} ({min(found):.2f}–{max(found):.2f})"

    speeds = [f"{1e3 / median(side, 'step'):.0f}" for side in (0, 1)]
    ratios = [ratio(key) for key in ("step", "best", "whole", "cpu_whole")]
    memory = [f"{median(*place):.0f}" for place in ((0, "rss"), (1, "rss"), (1, "supervisor"), (1, "recorder"))]
    return [name, PLAIN[name], *speeds, *ratios, *memory, f"{median(0, 'loss'):.4f} / {median(1, 'loss'):.4f}"]


def table(found: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]], threads: int) -> str:
    """Markdown."""
    head = ["adapter", "beside", "steps/s plain", "steps/s ours", "time ours / plain", "best window", "with all", "CPU",
            "MB plain", "MB worker", "MB supervisor", "MB recorder", "loss plain / ours"]  # fmt: skip
    lines = [head, ["---"] * 2 + ["--:"] * (len(head) - 2), *(row(name, pairs) for name, pairs in found.items())]
    rows = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    names = ("torch", "transformers", "jax", "flax")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    where = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    rounds = len(next(iter(found.values())))
    told = f"{date.today()}, Python {platform.python_version()}, {versions}; {where}; {threads} thread, no GPU"
    return f"{rows}\n\nMedians of {rounds} interleaved rounds, in brackets the extremes. {told}.\n"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--write", type=Path, help="the document whose block gets the table")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        if asked.cases != "flax":
            import torch

            torch.set_num_threads(asked.threads)
        print(json.dumps(PLAINS[asked.cases](asked.one, CASES[asked.cases])))
        return
    made = table({name: compare(name, asked.rounds, asked.threads) for name in asked.cases.split(",")}, asked.threads)
    print(made)
    if asked.write:
        measured.write(asked.write, "adapters", made)


if __name__ == "__main__":
    main()

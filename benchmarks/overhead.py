"""What our loop costs against a bare PyTorch loop (same model, data, order, optimizer), and what a checkpoint stalls.

    python benchmarks/overhead.py [--rounds 5] [--threads 1] [--cases 1ms,20ms,save] [--json]

Each contestant is a fresh process; rounds are interleaved and their order turns. `bare` is forward, backward, clipping
and a step of AdamW as torch makes it by default; `bare fused` the same with AdamW(fused=True); `ours` is the adapter
with everything on: records, the non-finite guard, probes, validation and checkpoints. `step` leaves validation and
saving out, as both loops do them; `whole` has them in, for the bare loops with torch.save. Absolute times drift on
shared machines: what counts is the ratio within one run. Not covered: the supervisor and the recorder, which are other
processes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CASES: dict[str, dict[str, Any]] = {
    "1ms": {"steps": 2000, "batch": 64, "hidden": 128, "depth": 2, "rows": 2000, "chunk": 50, "every": 500},
    "20ms": {"steps": 200, "batch": 256, "hidden": 1024, "depth": 2, "rows": 4000, "chunk": 10, "every": 100},
}
"""Small enough for the CPU: an MLP of `depth` hidden layers on 64 numbers, ten classes."""
CONTESTANTS = ("bare", "bare fused", "ours")
RATE, SEED = 3e-4, 7

MODEL = """
from torch import nn


def build_model():
    sizes = [64, *[{hidden}] * {depth}]
    layers = [part for a, b in zip(sizes, sizes[1:]) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 10))
"""


def make_data(folder: Path, case: dict[str, Any]) -> None:
    """Writes `data.npz`, `val.npz` and `model.py`: ten clouds of points, learnable but not at once."""
    import numpy as np

    generator = np.random.default_rng(SEED)
    centres = generator.normal(size=(10, 64))
    for name, rows in (("data", case["rows"]), ("val", case["rows"] // 4)):
        labels = generator.integers(0, 10, rows)
        points = centres[labels] + 3.0 * generator.normal(size=(rows, 64))
        np.savez(folder / f"{name}.npz", x=points.astype(np.float32), y=labels)
    (folder / "model.py").write_text(MODEL.format(**case))


def run_bare(folder: Path, case: dict[str, Any], fused: bool) -> dict[str, Any]:
    """The loop that a person would write."""
    import numpy as np
    import torch
    from torch import nn

    from stationmaster_trainer import order

    torch.manual_seed(SEED)
    scope: dict[str, Any] = {}
    exec((folder / "model.py").read_text(), scope)
    model = scope["build_model"]()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01, fused=fused or None)
    loss_function = nn.CrossEntropyLoss()
    train, val = (dict(np.load(folder / f"{name}.npz")) for name in ("data", "val"))
    clock, batch, n = Clock(case["chunk"]), case["batch"], case["rows"]
    for step in range(1, case["steps"] + 1):
        rows = order.batch_indices(SEED, step - 1, batch, n)
        inputs, targets = torch.from_numpy(train["x"][rows]), torch.from_numpy(train["y"][rows])
        optimizer.zero_grad()
        loss = loss_function(model(inputs), targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        clock.step(step)
        if step % case["every"] == 0:
            with clock.paused(), torch.no_grad():
                model.eval()
                total = 0.0
                for start in range(0, len(val["y"]), batch):
                    part = slice(start, start + batch)
                    x, y = torch.from_numpy(val["x"][part]), torch.from_numpy(val["y"][part])
                    total += loss_function(model(x), y).item() * len(y)
                model.train()
                torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, folder / "bare.pt")
    return clock.result(total / len(val["y"]))


def run_ours(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """The adapter as a worker calls it, with a real stream and real checkpoints."""
    from stationmaster_trainer import codec, contract, plugins, reporter, rundir, stream, window

    config = contract.TrainingConfig(
        model_path="model.py", framework="pytorch", train_data="data.npz", val_data="val.npz",
        batch_size=case["batch"], gradient_accumulation=1, optimizer="AdamW", learning_rate=RATE, weight_decay=0.01,
        betas=(0.9, 0.999), warmup_steps=0, lr_schedule="constant", total_steps=case["steps"], gradient_clip=1.0,
        dropout=None, checkpoint_every=case["every"], checkpoint_dir="checkpoints/run", log_every=10,
        validate_every=case["every"], logging=("file",), run_name="run", task="classification", epochs=1.0, seed=SEED,
        scale_inputs=False,
    )  # fmt: skip
    run = rundir.RunDir(folder / "runs" / "run")
    attempt = run.attempt(1)
    attempt.control.mkdir(parents=True)
    facts = contract.DataFacts(case["rows"], case["rows"] // 4, 1, 1, 1)
    checkpoints = str(folder / "checkpoints" / "run")
    spec = contract.Spec(config, facts, str(folder), str(run.path), checkpoints, "digest")
    rundir.create(run.spec, codec.dumps(spec).encode())
    clock = Clock(case["chunk"])
    pause = window.Window.paused
    window.Window.paused = lambda self: Both(pause(self), clock.paused())  # type: ignore[assignment,method-assign,return-value]
    beat = reporter.Reporter.beat

    def ticking(self: Any, step: int) -> None:
        beat(self, step)
        clock.step(step)

    reporter.Reporter.beat = ticking  # type: ignore[method-assign]
    told = reporter.Reporter(attempt, spec)
    launch = contract.Launch(attempt=1, argv=(), cwd=str(folder), env={}, recorder_argv=())
    plugins.find("adapters", "pytorch").train(spec, launch, told)
    told.close()
    evals = [record for record in stream.records(attempt.stream) if isinstance(record, contract.Eval)]
    return clock.result(evals[-1].loss)


class Both:
    """Two context managers as one."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __enter__(self) -> None:
        for part in self.parts:
            part.__enter__()

    def __exit__(self, *error: Any) -> None:
        for part in reversed(self.parts):
            part.__exit__(*error)


class Clock:
    """Wall and CPU time per step, by chunks of steps; what runs inside `paused` counts in `whole` only."""

    def __init__(self, chunk: int) -> None:
        self.chunk = chunk
        self.chunks: list[float] = []
        self.cpu: list[float] = []
        self.away = self.away_cpu = 0.0
        self.first: tuple[float, float, int] | None = None
        self.last = (0.0, 0.0, 0)

    def step(self, step: int) -> None:
        """After an optimizer step. The first chunk is warm-up."""
        if step % self.chunk:
            return
        now, cpu = time.perf_counter(), time.process_time()
        if self.first is None:
            self.first = (now, cpu, step)
        else:
            self.chunks.append((now - self.last[0] - self.away) / self.chunk)
            self.cpu.append((cpu - self.last[1] - self.away_cpu) / self.chunk)
        self.last, self.away, self.away_cpu = (now, cpu, step), 0.0, 0.0

    def paused(self) -> Both:
        return Both(self)

    def __enter__(self) -> None:
        self._from = (time.perf_counter(), time.process_time())

    def __exit__(self, *error: Any) -> None:
        self.away += time.perf_counter() - self._from[0]
        self.away_cpu += time.process_time() - self._from[1]

    def result(self, loss: float) -> dict[str, Any]:
        """Milliseconds per step: median and best chunk, CPU time, and everything included."""
        assert self.first is not None
        whole = (time.perf_counter() - self.first[0]) / (self.last[2] - self.first[2])
        return {
            "step": 1e3 * statistics.median(self.chunks),
            "best": 1e3 * min(self.chunks),
            "cpu": 1e3 * statistics.median(self.cpu),
            "whole": 1e3 * whole,
            "cpu_whole": 1e3 * (time.process_time() - self.first[1]) / (self.last[2] - self.first[2]),
            "loss": loss,
            "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def one(contestant: str, case: dict[str, Any], threads: int) -> dict[str, Any]:
    """In the fresh process: trains and returns its figures."""
    import torch

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_data(folder, case)
        if contestant == "ours":
            return run_ours(folder, case)
        return run_bare(folder, case, contestant == "bare fused")


def spawn(contestant: str, name: str, threads: int) -> dict[str, Any]:
    """Runs a contestant in a fresh process."""
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--one", contestant, "--cases", name, "--threads", str(threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise SystemExit(f"{contestant} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(name: str, rounds: int, threads: int) -> dict[str, Any]:
    """Medians over the rounds, and ours as a ratio to each bare loop within its round."""
    found: dict[str, list[dict[str, Any]]] = {contestant: [] for contestant in CONTESTANTS}
    for turn in range(rounds):
        for place in range(len(CONTESTANTS)):
            contestant = CONTESTANTS[(place + turn) % len(CONTESTANTS)]
            found[contestant].append(spawn(contestant, name, threads))
    medians = {
        contestant: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for contestant, runs in found.items()
    }
    ratios = {
        f"ours / {bare}": {
            key: statistics.median(
                ours[key] / other[key] for ours, other in zip(found["ours"], found[bare], strict=True)
            )
            for key in ("step", "best", "cpu", "whole")
        }
        for bare in CONTESTANTS[:2]
    }
    return {"medians": medians, "ratios": ratios}


def measure_saves(rounds: int, threads: int) -> dict[str, Any]:
    """Milliseconds that a step waits for a checkpoint of 300 MB: ours, torch.save, and the bare memory copy."""
    import torch
    from torch import nn

    from stationmaster_trainer.adapters import _torch_state

    torch.set_num_threads(threads)
    model = nn.Sequential(*[nn.Linear(2048, 2048) for _ in range(6)])
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(1, 2048)).sum().backward()
    optimizer.step()
    state = [*model.state_dict().values(), *(t for s in optimizer.state.values() for t in s.values())]
    copies = [torch.empty_like(tensor) for tensor in state]
    buffers = _torch_state.Buffers()
    times: dict[str, list[float]] = {"memory copy": [], "ours": [], "torch.save": []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds + 1):
            begun = time.perf_counter()
            for copy, tensor in zip(copies, state, strict=True):
                copy.copy_(tensor.detach())
            copied = time.perf_counter()
            _torch_state.take(_torch_state.plain(model), optimizer, {}, buffers, lambda folder: None)
            taken = time.perf_counter()
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, Path(folder) / "bare.pt")
            saved = time.perf_counter()
            if turn:  # the first copy allocates
                times["memory copy"].append(1e3 * (copied - begun))
                times["ours"].append(1e3 * (taken - copied))
                times["torch.save"].append(1e3 * (saved - taken))
    medians = {name: statistics.median(values) for name, values in times.items()}
    size = sum(tensor.nbytes for tensor in state) / 2**20
    return {
        "MiB": size,
        "ms": medians,
        "ours / memory copy": medians["ours"] / medians["memory copy"],
        "ours / torch.save": medians["ours"] / medians["torch.save"],
    }


def main() -> None:
    """Prints a table per case, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cases", default="1ms,20ms,save")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", choices=CONTESTANTS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(one(asked.one, CASES[asked.cases], asked.threads)))
        return
    import torch

    found: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__, "load": os.getloadavg()}
    for name in asked.cases.split(","):
        save = name == "save"
        found[name] = measure_saves(asked.rounds, asked.threads) if save else compare(name, asked.rounds, asked.threads)
    print(json.dumps(found, indent=1) if asked.json else table(found))


def table(found: dict[str, Any]) -> str:
    """For people."""
    lines = [f"Python {found['python']}, torch {found['torch']}, load {found['load'][0]:.1f} at the end of the start"]
    for name, case in found.items():
        if isinstance(case, dict) and "medians" in case:
            lines.append(f"\n{name} steps: milliseconds per step, medians over the rounds")
            lines.append(f"  {'':12}{'step':>9}{'best':>9}{'CPU':>9}{'whole':>9}{'loss':>9}{'MB':>7}")
            for contestant, row in case["medians"].items():
                figures = "".join(f"{row[key]:9.3f}" for key in ("step", "best", "cpu", "whole"))
                lines.append(f"  {contestant:12}{figures}{row['loss']:9.4f}{row['rss']:7.0f}")
            for pair, row in case["ratios"].items():
                lines.append(f"  {pair:18}" + "  ".join(f"{key} {value:.3f}" for key, value in row.items()))
    if "save" in found:
        save = found["save"]
        times = ", ".join(f"{name} {value:.0f} ms" for name, value in save["ms"].items())
        lines.append(f"\ncheckpoint of {save['MiB']:.0f} MiB: {times}")
        lines.append(
            f"  ours / memory copy {save['ours / memory copy']:.2f}, ours / torch.save {save['ours / torch.save']:.2f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

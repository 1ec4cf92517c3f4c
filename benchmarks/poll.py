"""What one `poll_status` costs in the server, on a short and on a very long run; and what `summarize` costs per record.

    python benchmarks/poll.py [--short 1000] [--long 10000000] [--report 100000] [--looks 200] [--json]

The runs are real folders: a stream with that many train records (the long one takes some 3.5 GB while the benchmark
runs), a status as the supervisor writes it with full curves, five open alerts and 400 alert lines. A look is the whole
tool call: argument check, finding the run, reading the status, text and structured content. Not covered: the transport.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio

from stationmaster_server.app import Stationmaster
from stationmaster_server.roots import Roots
from stationmaster_server.tools import report, watch
from stationmaster_trainer import codec, rundir
from stationmaster_trainer.contract import Alert, Best, Checkpoint, Eval, Launch, Status, Train
from stationmaster_trainer.rundir import RunDir

BLOCK = 20_000
"""Records that are written at a time."""


def record(step: int) -> Train:
    """A train record of usual size."""
    loss = 0.2 + 2.1 / (1 + step / 5000)
    return Train(
        time=1.79e9 + step,
        elapsed=float(step),
        step=step,
        epoch=step / 1000,
        samples=step * 32,
        loss=loss,
        loss_max=loss * 1.3,
        loss_min=loss * 0.8,
        grad_norm=1.25,
        grad_norm_max=2.5,
        learning_rate=1e-3,
        samples_per_second=640.0,
        window_samples=32,
    )


def make(project: Path, name: str, records: int) -> None:
    """A run folder with a stream of `records` train records."""
    run = RunDir(project / "runs" / name)
    attempt = run.attempt(1)
    attempt.control.mkdir(parents=True)
    attempt.worker_log.touch()
    rundir.create(attempt.launch, codec.dumps(Launch(1, ("python",), str(project), {}, ())).encode())
    with open(attempt.stream, "wb") as file:
        for first in range(1, records + 1, BLOCK):
            # real records, the figures of the block's first step: encoding ten million would take ten minutes
            count = min(BLOCK, records + 1 - first)
            before, _, after = codec.line(record(first)).partition(f'"step":{first},'.encode())
            file.write(b"".join(b'%s"step":%d,%s' % (before, step, after) for step in range(first, first + count)))
    alerts = [
        Alert(
            "loss_spike",
            "warning",
            step,
            step,
            f"Loss 4.21 is 9.1 times the median at {step}.",
            "A bad batch.",
            "Wait.",
        )
        for step in range(1, 401)
    ]
    rundir.create(attempt.alerts, b"".join(codec.dumps(alert).encode() + b"\n" for alert in alerts))
    rundir.create(run.status, codec.dumps(status(name, records, alerts)).encode())


def status(name: str, records: int, alerts: list[Alert]) -> Status:
    """As a supervisor writes it: curves full, five alerts open."""
    curve = tuple((1 + step * records // 64, 2.3 * math.exp(-step / 20)) for step in range(64))
    newest = Eval(1.79e9, 1.0, records, 0.21, {"accuracy": 0.95}, 10_000, 1.0)
    saved = Checkpoint(1.79e9, 1.0, records, f"checkpoints/{name}/checkpoint-{records}", 1 << 20, 0.1, 0.01)
    return Status(
        name,
        1,
        "succeeded",
        records,
        1.79e9,
        1.78e9,
        ended=1.79e9,
        cause="completed",
        message=f"every planned step was done (step {records}).",
        step=records,
        total_steps=records,
        loss=0.2,
        loss_average=0.21,
        learning_rate=1e-9,
        grad_norm=1.25,
        samples_per_second=640.0,
        eval=newest,
        best=Best(records, 0.21, "eval/loss", saved.path),
        checkpoint=saved,
        alerts_open=tuple(alerts[-5:]),
        alerts_total=len(alerts),
        curve=curve,
        eval_curve=curve,
    )


def looks(server: Stationmaster, project: Path, name: str, count: int) -> list[tuple[float, float]]:
    """Wall and processor milliseconds of each of `count` calls."""

    async def call() -> list[tuple[float, float]]:
        taken = []
        for _ in range(count):
            began, cpu = time.perf_counter(), time.process_time()
            await server.call_tool("poll_status", {"project_dir": str(project), "run": name})
            taken.append((1000 * (time.perf_counter() - began), 1000 * (time.process_time() - cpu)))
        return taken

    return anyio.run(call)


def summary_seconds(server: Stationmaster, project: Path, name: str) -> float:
    """Seconds of one `summarize`."""

    async def call() -> float:
        began = time.perf_counter()
        await server.call_tool("summarize", {"project_dir": str(project), "run": name})
        return time.perf_counter() - began

    return anyio.run(call)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Rounds of both runs in turn, so that drift of the machine hits both."""
    with tempfile.TemporaryDirectory(prefix="stationmaster-poll-") as folder:
        project = Path(folder)
        for name, records in (("short", arguments.short), ("long", arguments.long), ("report", arguments.report)):
            make(project, name, records)
        server = Stationmaster("benchmark", log_level="ERROR")
        watch.register(server, Roots((project,)))
        report.register(server, Roots((project,)))
        looks(server, project, "short", 20)
        taken: dict[str, list[tuple[float, float]]] = {"short": [], "long": []}
        for _ in range(10):
            for name, found in taken.items():
                found += looks(server, project, name, max(1, arguments.looks // 10))
        seconds = summary_seconds(server, project, "report")
        size = (project / "runs/long/attempts/001/stream.jsonl").stat().st_size
    medians = {name: statistics.median(wall for wall, _ in found) for name, found in taken.items()}
    return {
        "steps": {"short": arguments.short, "long": arguments.long},
        "long_stream_bytes": size,
        "median_ms": medians,
        "p95_ms": {name: statistics.quantiles([wall for wall, _ in found], n=20)[-1] for name, found in taken.items()},
        "median_cpu_ms": {name: statistics.median(cpu for _, cpu in found) for name, found in taken.items()},
        "ratio": medians["long"] / medians["short"],
        "summarize": {"records": arguments.report, "seconds": seconds},
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", type=int, default=1_000)
    parser.add_argument("--long", type=int, default=10_000_000)
    parser.add_argument("--report", type=int, default=100_000)
    parser.add_argument("--looks", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments)
    if arguments.json:
        print(json.dumps(found))
        return
    for name, steps in found["steps"].items():
        wall, cpu = found["median_ms"][name], found["median_cpu_ms"][name]
        print(f"{steps:>12,} steps: median {wall:.2f} ms, p95 {found['p95_ms'][name]:.2f} ms, processor {cpu:.2f} ms")
    print(f"long over short: {found['ratio']:.2f} (stream of {found['long_stream_bytes'] / 1e9:.1f} GB)")
    told = found["summarize"]
    print(f"summarize of {told['records']:,} records: {told['seconds']:.1f} s")
    print(f"Python {found['python']}, load {found['load']:.1f}")


if __name__ == "__main__":
    main()

"""Limits hold under Transformers and Flax as they do under PyTorch: saved, stopped, raised, gone on to the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from action_bench import SAMPLES, Bench
from hf_project import save_llama
from process_bench import end_processes
from test_flax_actions import FLAX, MODEL

from stationmaster_server import resume, runs
from stationmaster_trainer import budget, control, manifest

HF = {
    "framework": "transformers", "model_path": "model", "train_data": "data.jsonl", "val_data": "data.jsonl",
    "task": "language_modeling", "sequence_length": 32, "batch_size": 4, "learning_rate": 1e-3,
}  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A project of a person of its own."""
    for name, value in (("HOME", str(tmp_path / "home")), ("HF_HUB_OFFLINE", "1"), ("JAX_PLATFORMS", "cpu")):
        monkeypatch.setenv(name, value)
    yield Bench(tmp_path / "project")
    end_processes(tmp_path)


def _transformers(bench: Bench) -> tuple[int, dict[str, Any]]:
    bench.path.mkdir(parents=True)
    save_llama(bench.path / "model")
    bench.write(
        "data.jsonl", "".join(json.dumps({"text": "the train leaves the station. " * 2}) + "\n" * 2 for _ in "ab")
    )
    return 4, {**HF, "validate_every": 50_000}


def _flax(bench: Bench) -> tuple[int, dict[str, Any]]:
    bench.write("model.py", MODEL.format(bad=[], samples=SAMPLES, pause=0.0))
    return SAMPLES, {**FLAX, "validate_every": 50_000}


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "prepare", [pytest.param(_transformers, marks=pytest.mark.soak), _flax], ids=["transformers", "flax"]
)
def test_at_a_limit_the_framework_saves_the_step_and_stops_and_a_resume_goes_on_from_it(
    bench: Bench, prepare: Any
) -> None:
    """When it is reached does not depend on the framework (test_queue.py): here the supervisor's request is made."""
    samples, settings = prepare(bench)
    run = bench.begin(samples=samples, total_steps=100_000, checkpoint_every=50_000, log_every=1, **settings)
    bench.until(lambda: bench.status().step >= 2)
    control.place(run.attempt(1), budget.STOP, {"verb": budget.STOP, "time": 0.0, "reached": "max_hours 1 reached"})
    ended = bench.end()
    assert (ended.state, ended.cause) == ("stopped", "budget"), ended.message
    assert ended.checkpoint is not None and ended.checkpoint.step == ended.step >= 2
    assert manifest.newest_verified(bench.path / "checkpoints" / "run").step == ended.step
    resumed = resume.resume(bench.path, None)
    assert resumed.step == ended.step
    gone_on = bench.until(lambda: (seen := bench.status()).attempt == 2 and seen.step > ended.step and seen)
    assert gone_on.state == "running"
    runs.request_stop(run)
    assert bench.end().cause == "user"

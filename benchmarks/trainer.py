"""What our adapter costs beside a plain Trainer of Transformers: same model, rows, order, optimizer and schedule.

    python benchmarks/trainer.py [--rounds 3] [--threads 1] [--cases tiny,small] [--json]

Each contestant is a fresh process; rounds are interleaved. `plain` is `Trainer` with `report_to="none"`, a log line
every 10 steps, one validation and one checkpoint at the end; `ours` is the adapter with everything on: raw losses,
norms before clipping, the non-finite guard, probes, a validation with its standard error, a verified checkpoint. `step`
leaves validation and saving out. The losses of the last ten steps must be equal; they are printed. Absolute times drift
on shared machines: what counts is the ratio within one run. Not covered: the supervisor and the recorder, which are
other processes; GPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests" / "transformers"))
sys.path.append(str(Path(__file__).parents[1] / "tests" / "pytorch"))

from hf_project import save_llama
from overhead import Both, Clock

from stationmaster_trainer import contract

CASES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 32, "num_hidden_layers": 2, "steps": 400, "batch": 8, "chunk": 20},
    "small": {"hidden_size": 192, "num_hidden_layers": 4, "steps": 120, "batch": 16, "chunk": 10},
}
"""Random Llamas on additions in words: milliseconds and tens of milliseconds a step."""
CONTESTANTS = ("plain", "ours")
RATE, SEED, ROWS, LENGTH, PAD = 1e-3, 7, 1024, 64, 256


def make_project(folder: Path, case: dict[str, Any]) -> None:
    """`train.jsonl`, `val.jsonl` and the configuration of the model."""
    sizes = {key: case[key] for key in ("hidden_size", "num_hidden_layers")}
    save_llama(folder / "model", attention_dropout=0.0, intermediate_size=4 * case["hidden_size"], **sizes)
    for name, start in (("train", 0), ("val", ROWS)):
        rows = [f"What is {n} plus {n % 97}?" for n in range(start, start + ROWS // (1 if start == 0 else 8))]
        lines = [
            json.dumps({"prompt": row, "completion": f"It is {at + start + (at + start) % 97}."})
            for at, row in enumerate(rows)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def settings(case: dict[str, Any]) -> contract.TrainingConfig:
    """The configuration of both."""
    return contract.TrainingConfig(
        model_path="model", framework="transformers", train_data="train.jsonl", val_data="val.jsonl",
        batch_size=case["batch"], gradient_accumulation=1, optimizer="AdamW", learning_rate=RATE, weight_decay=0.01,
        betas=(0.9, 0.999), warmup_steps=0, lr_schedule="constant", total_steps=case["steps"], gradient_clip=1.0,
        dropout=None, checkpoint_every=case["steps"], checkpoint_dir="checkpoints/run", log_every=10,
        validate_every=case["steps"], logging=("file",), run_name="run", task="language_modeling", epochs=1.0,
        seed=SEED, sequence_length=LENGTH,
    )  # fmt: skip


def run_plain(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """The script that a person would write; the rows come tokenised, in our order."""
    import torch
    from plain_trainer import plain_trainer
    from transformers import AutoModelForCausalLM, LlamaConfig, Trainer, TrainerCallback

    steps, clock = case["steps"], Clock(case["chunk"])

    class Ticks(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            clock.step(state.global_step)

    class Timed(Trainer):
        def _evaluate(self, *some: Any, **more: Any) -> Any:
            with clock.paused():
                return super()._evaluate(*some, **more)

        def _save_checkpoint(self, *some: Any, **more: Any) -> Any:
            with clock.paused():
                return super()._save_checkpoint(*some, **more)

    torch.manual_seed(SEED)
    model = AutoModelForCausalLM.from_config(LlamaConfig.from_pretrained(folder / "model", pad_token_id=PAD))
    trainer = plain_trainer(
        folder, settings(case), model, Timed, [Ticks()], logging_steps=10, save_strategy="steps", save_steps=steps,
        eval_strategy="steps", eval_steps=steps,
    )  # fmt: skip
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return clock.result(losses[-1])


def run_ours(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """The adapter as a worker calls it, with a real stream and real checkpoints."""
    from stationmaster_trainer import codec, plugins, reporter, rundir, stream, window

    run = rundir.RunDir(folder / "runs" / "run")
    attempt = run.attempt(1)
    attempt.control.mkdir(parents=True)
    facts = contract.DataFacts(ROWS, ROWS // 8, 1, 1, 1)
    spec = contract.Spec(
        settings(case), facts, str(folder), str(run.path), str(folder / "checkpoints" / "run"), "digest"
    )
    rundir.create(run.spec, codec.dumps(spec).encode())
    clock = Clock(case["chunk"])
    pause, beat = window.Window.paused, reporter.Reporter.beat
    window.Window.paused = lambda self: Both(pause(self), clock.paused())  # type: ignore[assignment,method-assign,return-value]

    def ticking(self: Any, step: int) -> None:
        beat(self, step)
        clock.step(step)

    reporter.Reporter.beat = ticking  # type: ignore[method-assign]
    told = reporter.Reporter(attempt, spec)
    launch = contract.Launch(attempt=1, argv=(), cwd=str(folder), env={}, recorder_argv=())
    plugins.find("adapters", "transformers").train(spec, launch, told)
    told.close()
    records = [record for record in stream.records(attempt.stream) if isinstance(record, contract.Train)]
    return clock.result(records[-1].loss)


def one(contestant: str, case: dict[str, Any], threads: int) -> dict[str, Any]:
    """In the fresh process: trains and returns its figures."""
    import torch

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as name:
        make_project(Path(name), case)
        return {"plain": run_plain, "ours": run_ours}[contestant](Path(name), case)


def spawn(contestant: str, name: str, threads: int) -> dict[str, Any]:
    """Runs a contestant in a fresh process."""
    quiet = {
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, __file__, "--one", contestant, "--cases", name, "--threads", str(threads)]
    done = subprocess.run(command, env={**os.environ, **quiet}, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise SystemExit(f"{contestant} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(name: str, rounds: int, threads: int) -> dict[str, Any]:
    """Medians over the rounds, and ours as a ratio to the plain Trainer within its round."""
    found: dict[str, list[dict[str, Any]]] = {contestant: [] for contestant in CONTESTANTS}
    for turn in range(rounds):
        for contestant in CONTESTANTS[:: 1 if turn % 2 else -1]:
            found[contestant].append(spawn(contestant, name, threads))
    pairs = list(zip(found["ours"], found["plain"], strict=True))
    return {
        "medians": {
            who: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for who, runs in found.items()
        },
        "ours / plain": {
            key: statistics.median(ours[key] / plain[key] for ours, plain in pairs)
            for key in ("step", "best", "cpu", "whole", "rss")
        },
    }


def main() -> None:
    """Prints a table per case, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cases", default="tiny,small")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", choices=CONTESTANTS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(one(asked.one, CASES[asked.cases], asked.threads)))
        return
    import importlib.metadata

    names = ("torch", "transformers", "accelerate")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    found = {name: compare(name, asked.rounds, asked.threads) for name in asked.cases.split(",")}
    if asked.json:
        print(json.dumps(found, indent=1))
        return
    print(f"Python {platform.python_version()}, {versions}, load {os.getloadavg()[0]:.1f}")
    for name, case in found.items():
        print(f"\n{name}: milliseconds per step, medians of {asked.rounds} rounds")
        print(f"  {'':14}{'step':>9}{'best':>9}{'CPU':>9}{'whole':>9}{'steps/s':>9}{'loss':>11}{'MB':>7}")
        for who, row in case["medians"].items():
            figures = "".join(f"{row[key]:9.3f}" for key in ("step", "best", "cpu", "whole"))
            print(f"  {who:14}{figures}{1e3 / row['step']:9.1f}{row['loss']:11.4f}{row['rss']:7.0f}")
        print("  ours / plain  " + "  ".join(f"{key} {value:.3f}" for key, value in case["ours / plain"].items()))


if __name__ == "__main__":
    main()

"""Rules that act on a real run under the Trainer of Transformers."""

from __future__ import annotations

import json
import random

from action_bench import Bench, kill_after_rollback, shown
from hf_project import save_llama

from stationmaster_trainer import order
from stationmaster_trainer.contract import Train

SAMPLES, BATCH, SEED, AT = 700, 4, 7, 53
WORDS = [("the train leaves the station at noon. " * 2)[:63], ("no train leaves before the line. " * 2)[:63]]
"""With the token at their end, a whole sequence each."""
HF = {
    "framework": "transformers", "model_path": "model", "train_data": "data.jsonl", "val_data": "val.jsonl",
    "task": "language_modeling", "sequence_length": 64, "batch_size": BATCH, "learning_rate": 1e-2, "total_steps": 150,
}  # fmt: skip


def test_a_run_of_transformers_goes_back_behind_foreign_text_survives_a_kill_and_finishes_well(bench: Bench) -> None:
    bench.path.mkdir(parents=True)
    save_llama(bench.path / "model")
    rows = [{"text": WORDS[index % 2]} for index in range(SAMPLES)]
    bad = order.epoch_order(SEED, 0, SAMPLES)[(AT - 1) * BATCH : AT * BATCH].tolist()
    made = random.Random(3)
    for index in bad:
        rows[index] = {"text": "".join(made.choice("QXZJKVWY#@&%") for _ in range(63))}
    bench.write("data.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    bench.write("val.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in WORDS))
    acts = {"loss_spike": "rollback", "grad_norm_spike": "rollback"}
    bench.begin(samples=SAMPLES, classes=(), actions=acts, log_every=1, **HF)
    before = kill_after_rollback(bench)
    again, status = shown(bench, 3), bench.status()
    assert before and before == {step: again[step] for step in before}
    (action,) = status.actions
    assert action.rule in acts and (action.step, action.first_step, action.skipped_last) == (50, AT, AT)
    assert status.eval is not None and status.eval.loss < 0.5 and status.step == 150
    seen = {row for attempt in (2, 3) for record in bench.records(Train, attempt) for row in record.worst_samples}
    assert seen and not seen & {index + 1 for index in bad}
    if action.rule == "loss_spike":
        assert set(action.samples) == {index + 1 for index in bad}

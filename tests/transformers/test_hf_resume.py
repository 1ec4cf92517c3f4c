"""A run of Transformers that is killed, also inside a save, and resumed is the run that was not, bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hf_project import HfProject, history_of, save_llama
from training_project import KILLED

from stationmaster_trainer import manifest
from stationmaster_trainer.contract import Checkpoint, Eval, Finished, Note, Train
from stationmaster_trainer.errors import CheckpointError, DataError

KILL_IN_SAVE = """
import os, signal
from stationmaster_trainer import checkpoint
write = checkpoint.manifest.write

def die(folder, step, **more):
    if step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(folder, step, **more)

checkpoint.manifest.write = die
"""
KILL_IN_STEP = """
import os, signal
from stationmaster_trainer.adapters._torch_trainee import TorchTrainee
update = TorchTrainee.update

def die(self, loss, rate):
    update(self, loss, rate)
    if self.updates == {updates}:
        os.kill(os.getpid(), signal.SIGKILL)

TorchTrainee.update = die
"""
SETTINGS: dict[str, Any] = {
    "total_steps": 24, "batch_size": 6, "gradient_accumulation": 2, "checkpoint_every": 5, "validate_every": 4,
    "keep_checkpoints": 2, "extra": {"neftune_noise_alpha": 5},
}  # fmt: skip


def history(project: HfProject) -> list[tuple[object, ...]]:
    return history_of(project.run)


@pytest.mark.fault("F1", "F2")
def test_a_run_killed_in_a_step_and_in_a_save_equals_the_uninterrupted_one_bit_for_bit(
    talk: HfProject, tmp_path: Path
) -> None:
    """Dropout and noise on the embeddings draw from the generators in every step."""
    talk.train_here(**SETTINGS)
    broken = HfProject(tmp_path / "broken")
    shutil.copytree(talk.path / "model", broken.path / "model")
    shutil.copyfile(talk.path / "data.jsonl", broken.path / "data.jsonl")
    assert broken.train(prelude=KILL_IN_STEP.format(updates=8), **SETTINGS) == KILLED, broken.log()
    assert broken.train(resume=True, prelude=KILL_IN_SAVE.format(step=15)) == KILLED, broken.log()
    newest = manifest.newest_verified(broken.checkpoints)
    assert (newest.step, newest.rejected) == (10, ())
    assert broken.train_here(resume=True).reason == "completed"
    assert any(".checkpoint-15.partial" in note.message for note in broken.records(Note))
    assert len(history(talk)) == 24 + 9
    assert history(broken) == history(talk)
    ends = [manifest.newest_verified(one.checkpoints) for one in (talk, broken)]
    assert ends[0].step == ends[1].step == 24
    files = [end.manifest.files["model.safetensors"].sha256 for end in ends if end.manifest]
    assert files[0] == files[1]


def test_a_lora_run_goes_on_from_its_adapter_alone(talk: HfProject, tmp_path: Path) -> None:
    settings = {
        "total_steps": 8,
        "checkpoint_every": 4,
        "validate_every": 4,
        "extra": {"lora_r": 4, "lora_dropout": 0.2},
    }
    talk.train_here(**settings)
    other = HfProject(tmp_path / "other")
    shutil.copytree(talk.path / "model", other.path / "model")
    shutil.copyfile(talk.path / "data.jsonl", other.path / "data.jsonl")
    other.train_here(**settings)
    shutil.rmtree(other.checkpoints / "checkpoint-8")
    before = [record.loss for record in other.records(Train)]
    other.train_here(resume=True)
    assert other.records(Train)[0].step == 5
    assert [record.loss for record in other.records(Train)] == before[4:]
    assert before == [record.loss for record in talk.records(Train)]
    (_, saved) = talk.records(Checkpoint)
    names = set(manifest.read(talk.path / saved.path).files)
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= names
    assert "model.safetensors" not in names


def test_a_request_to_stop_saves_the_step_and_the_end_is_the_persons(talk: HfProject) -> None:
    talk.spec(total_steps=100_000, checkpoint_every=50_000, validate_every=50_000, log_every=1)
    attempt = talk.prepare()
    worker = talk.start_attempt(attempt)
    try:
        from training_project import until

        until(lambda: talk.records(Train), "a first record")
        talk.request("stop")
        assert worker.wait(60) == 0, talk.log()
    finally:
        worker.kill()
    (finished,) = talk.records(Finished)
    assert finished.reason == "user"
    assert manifest.newest_verified(talk.checkpoints).step == finished.step


def test_patience_ends_the_run_and_the_best_checkpoint_stays(talk: HfProject) -> None:
    outcome = talk.train_here(
        learning_rate=0.05, warmup_steps=0, lr_schedule="constant", total_steps=200, validate_every=2,
        checkpoint_every=4, early_stopping_patience=4,
    )  # fmt: skip
    assert outcome.reason == "early_stopping"
    assert outcome.step < 200
    evals = talk.records(Eval)
    saved = talk.records(Checkpoint)
    best = [record.step for record in saved if record.best][-1]
    assert best in {step for step, _ in manifest.list_checkpoints(talk.checkpoints)}
    assert min(evals, key=lambda record: record.loss).step == evals[-5].step


def test_a_checkpoint_of_another_model_is_refused_with_what_differs(talk: HfProject) -> None:
    talk.train_here(total_steps=3)
    save_llama(talk.path / "model", hidden_size=48)
    with pytest.raises(CheckpointError, match=r"head_dim is 16 in the checkpoint, 24 in the model"):
        talk.train_here(resume=True, total_steps=6)
    save_llama(talk.path / "model")
    with pytest.raises(CheckpointError, match="it holds no LoRA adapter"):
        talk.train_here(resume=True, total_steps=6, extra={"lora_r": 4})


def test_a_checkpoint_is_a_folder_that_its_users_load(talk: HfProject) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    talk.train_here(total_steps=3)
    folder = talk.checkpoints / "checkpoint-3"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.use_cache is True
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is 1 plus 2?"}], add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    assert model.generate(ids, max_new_tokens=3, do_sample=False).shape[1] > ids.shape[1]
    best = talk.checkpoints / "model"
    assert sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(best).parameters()) == model.num_parameters()
    card = (best / "README.md").read_text()
    assert 'pipeline_tag: "text-generation"' in card
    assert "AutoModelForCausalLM.from_pretrained(folder)" in card
    assert not {"optimizer.pt", "state.pt", "manifest.json"} & {path.name for path in best.iterdir()}


def test_a_checkpoint_is_scored_on_a_held_out_file(talk: HfProject) -> None:
    """The same rows as validation give the figures of validation; others do not."""
    from stationmaster_trainer.adapters import transformers

    rows = (talk.path / "data.jsonl").read_text().splitlines(keepends=True)
    for name, part in (("train", rows[:70]), ("val", rows[70:85]), ("test", rows[85:])):
        (talk.path / f"{name}.jsonl").write_text("".join(part))
    talk.train_here(train_data="train.jsonl", val_data="val.jsonl", total_steps=3)
    (record,) = talk.records(Eval)
    folder = talk.checkpoints / "checkpoint-3"
    spec = talk.spec(val_data="none")  # as if it had never been seen
    again = transformers.evaluate(spec, folder, "val.jsonl")
    assert (again.evaluation.loss, again.evaluation.samples) == (pytest.approx(record.loss, abs=1e-6), 15)
    assert again.overlap == {"training": 0}
    spec = talk.spec(val_data="val.jsonl")
    held_out = transformers.evaluate(spec, folder, "test.jsonl")
    assert held_out.evaluation.loss != again.evaluation.loss
    assert held_out.evaluation.loss_sem is not None
    assert held_out.overlap == {"training": 0, "validation": 0}
    with pytest.raises(DataError, match=r"val.jsonl was not held out: 15 of 15 test samples .* the validation part"):
        transformers.evaluate(spec, folder, "val.jsonl")

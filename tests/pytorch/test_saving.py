"""Checkpoints: complete or absent at every instant of a save; refused when a bit changed or when of another model."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from training_project import KILLED, Project

from stationmaster_trainer import manifest, stream
from stationmaster_trainer.contract import Checkpoint, Failure, Finished, Note
from stationmaster_trainer.errors import CheckpointError

SAVES = """
import os, signal, sys
from pathlib import Path
from stationmaster_trainer.checkpoint import Label, Saver, Snapshot

folder, fatal = Path(sys.argv[1]), int(sys.argv[2])


def write(where):
    for name in ("model.safetensors", "optimizer.pt"):
        with open(where / name, "wb") as file:
            file.write(b"x" * 100_000)
            file.flush()
            file.write(b"y" * 100_000)


def saver():
    made = Saver(folder, folder.parent, 1, "digest", lambda record: print(record.step, flush=True), lambda: 0.0)
    made.prepare()
    return made


def save(one, step):
    one.save(Label(step, {"step": step}), lambda: Snapshot(200_000, write))
    one.wait()


first = saver()
for step in (10, 20):
    save(first, step)
seen = 0


def die(event, arguments):
    global seen
    if event.split(".")[0] in ("open", "os", "shutil") and any(str(folder) in str(one) for one in arguments[:2]):
        seen += 1
        if seen == fatal:
            os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(die)
save(first, 30)
"""


@pytest.mark.fault("F2")
def test_a_kill_at_any_file_operation_of_a_save_leaves_a_verified_checkpoint_and_nothing_that_looks_like_one(
    tmp_path: Path,
) -> None:
    script = tmp_path / "saves.py"
    script.write_text(textwrap.dedent(SAVES))
    seen: set[int] = set()
    for fatal in range(1, 100):
        folder = tmp_path / f"kill-{fatal}"
        done = subprocess.run([sys.executable, script, folder, str(fatal)], capture_output=True, timeout=60)
        newest = manifest.newest_verified(folder)
        assert newest.rejected == ()
        assert newest.step in (20, 30)
        for _, path in manifest.list_checkpoints(folder):
            manifest.verify(path)
        if b"30" in done.stdout.split():
            assert newest.step == 30
        seen.add(newest.step)
        manifest.sweep(folder)
        assert {path.name for path in folder.iterdir()} <= {"checkpoint-10", "checkpoint-20", "checkpoint-30"}
        if done.returncode == 0:
            break
    assert done.returncode == 0
    assert fatal > 15
    assert seen == {20, 30}


@pytest.mark.fault("F2")
def test_a_worker_killed_inside_a_save_resumes_from_the_checkpoint_before_and_sweeps_the_partial_one(
    project: Project,
) -> None:
    die = """
        import os, signal, sys

        def die(event, arguments):
            if event == "os.rename" and "checkpoint-20.partial" in str(arguments[0]):
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(die)
    """
    assert project.train(prelude=die) == KILLED
    assert (project.checkpoints / ".checkpoint-20.partial").is_dir()
    assert manifest.newest_verified(project.checkpoints).step == 10
    assert project.train_here(resume=True).reason == "completed"
    assert not [path for path in project.checkpoints.iterdir() if path.name.startswith(".")]
    assert any(".checkpoint-20.partial" in note.message for note in project.records(Note))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "state.pt", "position.json", "manifest.json"])
@pytest.mark.fault("F14")
def test_one_flipped_bit_is_seen_and_the_file_is_named(project: Project, name: str) -> None:
    project.train_here(total_steps=20)
    flip(project.checkpoints / "checkpoint-20" / name)
    newest = manifest.newest_verified(project.checkpoints)
    assert newest.step == 10
    (rejected,) = newest.rejected
    assert name in rejected.reason
    flip(project.checkpoints / "checkpoint-10" / name)
    with pytest.raises(CheckpointError, match=name):
        manifest.verify(project.checkpoints / "checkpoint-10")
    assert manifest.newest_verified(project.checkpoints).path is None


@pytest.mark.fault("F14")
def test_whatever_stands_in_a_checkpoints_place_is_refused_by_name_without_hanging(project: Project) -> None:
    project.train_here(total_steps=20)
    broken = project.checkpoints / "checkpoint-20"
    (broken / "state.pt").unlink()
    os.mkfifo(broken / "state.pt")
    (project.checkpoints / "checkpoint-30").mkdir()
    (project.checkpoints / "checkpoint-40").write_text("a file")
    os.symlink(project.checkpoints / "checkpoint-10", project.checkpoints / "checkpoint-50")
    newest = manifest.newest_verified(project.checkpoints)
    assert newest.step == 10
    reasons = {one.path.name: one.reason for one in newest.rejected}
    assert "renamed" in reasons["checkpoint-50"]
    assert "does not exist or is not a folder" in reasons["checkpoint-40"]
    assert "manifest.json is missing" in reasons["checkpoint-30"]
    assert "state.pt is not a plain file" in reasons["checkpoint-20"]


@pytest.mark.fault("F14")
def test_a_resume_from_a_changed_checkpoint_is_refused_before_anything_is_loaded(project: Project) -> None:
    project.train_here(total_steps=20)
    project.spec(total_steps=40)
    attempt = project.prepare(resume=True)
    flip(project.checkpoints / "checkpoint-20" / "model.safetensors")
    assert project.train_attempt(attempt) == 1
    (failure,) = project.records(Failure)
    assert failure.cause == "exception"
    assert failure.error == "CheckpointError"
    assert "model.safetensors was changed" in failure.message


def test_a_checkpoint_of_another_model_is_refused_with_the_first_parameter_that_differs(project: Project) -> None:
    project.train_here(total_steps=10)
    with pytest.raises(CheckpointError, match=r"layers\.0\.weight is \(32, 64\) in the checkpoint, \(48, 64\) in the"):
        project.train_here(resume=True, total_steps=20, model_args={"hidden": 48})


def test_the_best_and_the_newest_checkpoints_are_kept_and_the_records_say_what_was_removed(project: Project) -> None:
    """The rate is so high that validation is best at the beginning."""
    project.train_here(learning_rate=1.0, warmup_steps=0, total_steps=60, lr_schedule="constant", keep_checkpoints=2)
    saved = project.records(Checkpoint)
    losses = {record.step: record.eval_loss for record in saved}
    best = min(losses, key=lambda step: losses[step] or 0.0)
    kept = {step for step, _ in manifest.list_checkpoints(project.checkpoints)}
    assert kept == {best, 50, 60}
    assert best < 50
    removed = {path for record in saved for path in record.removed}
    assert removed == {f"checkpoints/run/checkpoint-{step}" for step in set(losses) - kept}
    assert [record.step for record in saved if record.best][-1] == best


def test_tied_weights_are_saved_once_and_come_back_tied(project: Project) -> None:
    project.model(
        """
        from torch import nn

        class Tied(nn.Module):
            def __init__(self, vocab_size):
                super().__init__()
                self.embed = nn.Embedding(vocab_size, 16)
                self.head = nn.Linear(16, vocab_size, bias=False)
                self.head.weight = self.embed.weight

            def forward(self, tokens):
                return self.head(self.embed(tokens))
        """
    )
    (project.path / "poem.txt").write_text("the quick brown fox jumps over the lazy dog. " * 100)
    settings = {"train_data": "poem.txt", "task": "language_modeling", "sequence_length": 16, "batch_size": 8}
    project.train_here(**settings, total_steps=10)
    first = project.checkpoints / "checkpoint-10"
    from safetensors.torch import load_file

    assert set(load_file(str(first / "model.safetensors"))) == {"embed.weight"}
    assert project.train_here(resume=True, total_steps=20).step == 20


def test_states_load_with_weights_only_and_the_model_file_with_safetensors_alone(project: Project) -> None:
    project.train_here(total_steps=10)
    folder = project.checkpoints / "checkpoint-10"
    for name in ("optimizer.pt", "state.pt"):
        assert torch.load(folder / name, weights_only=True)
    from safetensors.torch import load_file

    assert load_file(str(folder / "model.safetensors"))["layers.0.weight"].shape == (32, 64)
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json", "model.json", "model.safetensors", "optimizer.pt", "position.json", "preprocessing.json",
        "state.pt",
    }  # fmt: skip


@pytest.mark.fault("F9")
def test_no_room_for_a_checkpoint_ends_the_run_as_disk_full_with_the_bytes_needed(project: Project) -> None:
    """The free space is asked of the system; here the system's answer is 1,000 bytes after the first checkpoint."""
    full = """
        import os
        from pathlib import Path

        real = os.statvfs

        def nearly_full(path):
            found = real(path)
            if not (Path(path) / "checkpoint-10").exists():
                return found
            return os.statvfs_result((1, 1, 10**6, 1000, 1000, *tuple(found)[5:]))

        os.statvfs = nearly_full
    """
    assert project.train(prelude=full) == 1
    (failure,) = project.records(Failure)
    assert failure.cause == "disk_full"
    assert "bytes are needed" in failure.message
    assert "1,000 are free" in failure.message
    assert manifest.newest_verified(project.checkpoints).step == 10
    assert project.records(Finished) == []


@pytest.mark.fault("F9")
def test_a_disk_that_fills_up_while_a_checkpoint_is_written_is_disk_full_too(project: Project) -> None:
    """The error that the system gives then is raised where the manifest is written."""
    full = """
        from stationmaster_trainer import checkpoint
        import errno, os

        write = checkpoint.manifest.write

        def refused(folder, step, **more):
            if step == 20:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(folder, step, **more)

        checkpoint.manifest.write = refused
    """
    assert project.train(prelude=full) == 1
    (failure,) = project.records(Failure)
    assert failure.cause == "disk_full"
    assert manifest.newest_verified(project.checkpoints).step == 10
    assert not list(project.checkpoints.glob(".checkpoint-*"))


@pytest.mark.fault("F2")
def test_a_checkpoint_that_a_resume_replaces_is_complete_at_every_instant(project: Project) -> None:
    project.train_here(total_steps=20)
    flip(project.checkpoints / "checkpoint-20" / "optimizer.pt")
    assert project.train_here(resume=True, total_steps=30).step == 30
    assert manifest.newest_verified(project.checkpoints).step == 30
    for _, path in manifest.list_checkpoints(project.checkpoints):
        manifest.verify(path)
    steps = [record.step for _, record in stream.merged(project.run) if isinstance(record, Checkpoint)]
    assert steps == [10, 20, 30]

"""Real workers: both kinds of Flax models learn, and a run that was killed and resumed is the run that was not."""

from __future__ import annotations

from pathlib import Path

import pytest
from flax_project import LINEN, NNX_NORM, FlaxProject
from test_exact_resume import KILL_AT, history
from training_project import KILLED

from stationmaster_trainer import manifest
from stationmaster_trainer.contract import Eval, Note, Started, Train

DIE_IN_SAVE = """
import os, signal, sys

def die(event, arguments):
    if event == "os.rename" and "checkpoint-80.partial/optimizer" in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)
"""
"""While Orbax writes the second of its two parts."""
DIE_IN_RESUME = """
import os, signal
from stationmaster_trainer.adapters import _flax_state
load_model = _flax_state.load_model

def die(*arguments):
    load_model(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

_flax_state.load_model = die
"""
"""When the model of the checkpoint is loaded and its optimizer is not."""


@pytest.mark.parametrize(
    ("source", "batches", "killers", "complete"),
    [
        pytest.param(NNX_NORM, (32, 2), (DIE_IN_SAVE, DIE_IN_RESUME), {40}, id="nnx, in a save and in the resume"),
        pytest.param(LINEN, (32, 1), (KILL_AT.format(step=130),), {80, 120}, id="linen", marks=pytest.mark.soak),
    ],
)
@pytest.mark.fault("F1", "F2")
def test_digits_are_learnt_and_a_worker_that_was_killed_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, source: str, batches: tuple[int, int], killers: tuple[str, ...], complete: set[int]
) -> None:
    settings = {"total_steps": 150, "checkpoint_every": 40, "validate_every": 50, "num_threads": 1}
    settings |= {"learning_rate": 1e-2, "batch_size": batches[0], "gradient_accumulation": batches[1]}
    whole = FlaxProject(tmp_path / "whole", source)
    whole.train_here(**settings)
    (started,) = whole.records(Started)
    assert (started.framework, started.device, started.precision) == ("flax", "cpu", "fp32")
    assert whole.records(Eval)[-1].metrics["accuracy"] >= 0.9
    killed = FlaxProject(tmp_path / "killed", source)
    killed.spec(**settings)
    for number, killer in enumerate(killers):
        assert killed.train(resume=number > 0, prelude=killer) == KILLED, killed.log()
    saved = manifest.newest_verified(killed.checkpoints).step
    assert saved in complete, "the one before was waited for when the next save began"
    assert killed.train(resume=True) == 0, killed.log()
    assert killed.log() == "", "no warning of JAX, Orbax or absl"
    told = " ".join(note.message for attempt in (1, 2) for note in killed.records(Note, attempt=attempt))
    assert (".checkpoint-80.partial" in told) == (saved == 40), "told and swept"
    assert not [path.name for path in killed.checkpoints.iterdir() if path.name.startswith(".")]
    assert killed.records(Train)[0].step == saved + 1
    assert len(history(whole)) == 150 + 6
    assert history(killed) == history(whole)

"""A Flax checkpoint: plain Orbax inside our manifest, complete, checked, and refused by another model."""

from __future__ import annotations

from pathlib import Path

import orbax.checkpoint as ocp
import pytest
from flax_project import LINEN, NNX_NORM, FlaxProject

from stationmaster_trainer import manifest
from stationmaster_trainer.contract import Note
from stationmaster_trainer.errors import CheckpointError


@pytest.fixture(scope="module", params=["nnx", "linen"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FlaxProject:
    """A run of 40 steps with a checkpoint at every tenth."""
    sources = {"nnx": NNX_NORM, "linen": LINEN}
    project = FlaxProject(tmp_path_factory.mktemp("trained") / request.param, sources[request.param])
    project.train_here(num_threads=1, precision="bf16", learning_rate=1e-2, log_every=10)
    return project


def test_a_checkpoint_is_two_plain_orbax_folders_and_what_a_resume_needs(trained: FlaxProject) -> None:
    folder = trained.checkpoints / "checkpoint-40"
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json", "model", "model.json", "optimizer", "position.json", "preprocessing.json", "state.json",
    }  # fmt: skip
    restored = ocp.PyTreeCheckpointer().restore(folder / "model")
    wanted = {"nnx": {"first", "norm", "last"}, "linen": {"params", "batch_stats"}}
    assert set(restored) == wanted[trained.path.name]
    moments = ocp.StandardCheckpointer().restore(folder / "optimizer")
    assert set(moments["0"]) == {"count", "mu", "nu"}
    (note,) = [note for note in trained.records(Note) if "bf16" in note.message]
    assert note.facts == {"precision": "fp32"}


def test_a_checkpoint_of_another_model_is_refused_with_the_first_parameter_that_differs(trained: FlaxProject) -> None:
    name = {"nnx": "first/(kernel|bias)", "linen": "(Dense|BatchNorm)_0/(kernel|bias)"}[trained.path.name]
    trainee = trained.trainee(model_args={"hidden": 24})
    trained.spec(model_args={})
    with pytest.raises(
        CheckpointError, match=rf"{name} is .*32,?\) in the checkpoint, .*24,?\) in the model"
    ) as caught:
        trainee.restore(trained.checkpoints / "checkpoint-40")
    assert "of another model" in str(caught.value)


def test_one_flipped_bit_in_a_file_of_orbax_is_seen_and_the_file_is_named(trained: FlaxProject) -> None:
    folder = trained.checkpoints / "checkpoint-40"
    largest = max(
        (path for path in (folder / "optimizer").rglob("*") if path.is_file()), key=lambda p: p.stat().st_size
    )
    content = largest.read_bytes()
    largest.write_bytes(bytes((*content[:99], content[99] ^ 1, *content[100:])))
    with pytest.raises(CheckpointError, match=f"{largest.name} was changed"):
        manifest.verify(folder)
    newest = manifest.newest_verified(trained.checkpoints)
    assert newest.step == 30
    assert newest.manifest is not None
    assert any(name.startswith("model/d/") for name in newest.manifest.files)
    largest.write_bytes(content)
    assert manifest.verify(folder).step == 40


def test_bf16_computes_in_bf16_and_keeps_parameters_and_statistics_in_fp32(tmp_path: Path) -> None:
    from test_flax_steps import rows

    project = FlaxProject(tmp_path / "project", NNX_NORM)
    full, half = project.trainee(batch_size=32), project.trainee(batch_size=32, precision="bf16")
    for trainee in (full, half):
        trainee.step((rows(trainee, 0, 32),), 1e-2)
    kinds = {str(array.dtype) for array in (*half.now.params.values(), *half.now.state.values())}
    assert kinds == {"float32"}
    (a,), (b,) = full.drain(), half.drain()
    assert a.loss != b.loss
    assert a.loss == pytest.approx(b.loss, rel=2e-2)

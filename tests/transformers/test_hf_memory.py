"""What a run needs in memory is estimated before the start; what does not fit is said with what makes it fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hf_project import HfProject, findings

from stationmaster_server import checks
from stationmaster_trainer import memory
from stationmaster_trainer.facts import Finding, ModelFacts, SplitFacts


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine whose memory files a test writes: `machine("meminfo", "…")`."""
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "groups")

    def write(name: str, text: object) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")

    write("meminfo", "MemTotal: 9000 kB\nMemAvailable: 4000 kB")
    return write


def test_a_container_leaves_less_than_the_machine_has(machine: Any) -> None:
    assert memory.available() == 4_096_000
    machine("cgroup", "0::/pod/one")
    machine("groups/pod/one/memory.max", "max")
    machine("groups/pod/memory.max", 1_000_000)
    for folder in ("pod", "pod/one"):
        machine(f"groups/{folder}/memory.current", 400_000)
        machine(f"groups/{folder}/memory.stat", "anon 1\ninactive_file 50000")
    assert memory.available() == 650_000
    machine("cgroup", "4:memory,cpu:/box\n0::/")
    machine("groups/memory/box/memory.limit_in_bytes", 9_000_000)
    machine("groups/memory/box/memory.usage_in_bytes", 8_000_000)
    machine("groups/memory/box/memory.stat", "inactive_file 7\ntotal_inactive_file 500000")
    assert memory.available() == 1_500_000
    machine("groups/memory/box/memory.usage_in_bytes", 9_900_000)
    assert memory.available() == 0


def proposed(project: HfProject, seen: ModelFacts, free: int, **changes: Any) -> list[Finding]:
    """What the check of the proposal says of these facts, were so much memory free."""
    found = replace(seen, free_memory_bytes=free)
    split = SplitFacts("80/20 split", "language_modeling", "", None, train_samples=80, val_samples=20)
    known = checks.Known(replace(project.config, **changes), split, found, 20, None, None)
    return [finding for finding in checks.run(known) if finding.check == "memory"]


def test_a_batch_that_does_not_fit_is_told_with_the_batch_that_does(talk: HfProject) -> None:
    seen = talk.measure(batch_size=4)
    assert seen.state_bytes == 28 * seen.parameters
    assert seen.sample_bytes is not None and seen.sample_bytes > 50_000
    assert proposed(talk, seen, free=2 * (seen.state_bytes + 8 * seen.sample_bytes), batch_size=8) == []

    free = int((seen.state_bytes + 3.5 * seen.sample_bytes) / 0.8)
    (told,) = proposed(talk, seen, free, batch_size=8, gradient_accumulation=2)
    assert told.severity == "error"
    assert told.advice == "Set batch_size to 3 and gradient_accumulation to 6: the same effective batch."
    assert proposed(talk, seen, free, batch_size=3) == []

    (told,) = proposed(talk, seen, free=1_000_000)
    assert told.message.startswith("Weights, gradients and optimizer need 1.05 MB and a batch of 4 ")
    assert told.advice.startswith("Set extra.lora to true, which trains a small part of the weights; or take ")


def test_a_full_fine_tuning_that_does_not_fit_becomes_lora_with_the_reason(talk: HfProject, machine: Any) -> None:
    """The machine says how much memory is free: here so little that even this model does not fit."""
    machine("meminfo", "MemAvailable: 900 kB")
    found = talk.measure()
    assert found.regime == "lora"
    assert found.decided == {"lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "lora_target_modules": "all-linear"}
    assert found.trainable_parameters < found.parameters / 2
    assert found.batch_that_fits == 1
    assert "a full fine-tuning of 37,472 parameters needs about" in findings(found)["lora"].message
    refused = talk.measure(extra={"lora": False})
    assert refused.regime == "scratch"
    (told,) = proposed(talk, refused, 900 * 1024)
    assert told.severity == "error"


def test_activations_are_counted_and_none_are_promised_that_checkpointing_spares(talk: HfProject) -> None:
    short, long = (talk.measure(batch_size=size).sample_bytes for size in (1, 4))
    assert short == pytest.approx(long, rel=0.2)
    assert talk.measure(extra={"gradient_checkpointing": True}).sample_bytes is None

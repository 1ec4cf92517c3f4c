"""Too many characters to tokenise before a person decides: some rows stand for all, and everything else is of all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hf_project import QUESTIONS, HfProject, findings, save_llama, save_tokenizer
from transformers import BertConfig

from stationmaster_server import validate
from stationmaster_trainer.adapters import _hf_sampled

STATEMENTS = [f"{a} and {b} and {c} are numbers" for a in range(10) for b in range(10) for c in range(10)]
KINDS = ("duplicates", "contradiction", "overlap", "near_overlap", "near_duplicates", "two_answers", "class_balance")


def both(project: HfProject, patch: pytest.MonkeyPatch, characters: int, **changes: Any) -> tuple[Any, Any]:
    """The facts with every row tokenised, and with so many characters."""
    changes = {"val_data": "split", **changes}
    whole = project.split(**changes)
    few(patch, characters)
    return whole, project.split(**changes)


def few(patch: pytest.MonkeyPatch, characters: int) -> None:
    """So many characters are tokenised, and few rows in any case."""
    patch.setattr(_hf_sampled, "AFFORDED", characters)
    patch.setattr(_hf_sampled, "FEWEST", 50)


def test_texts_with_a_class_are_counted_and_compared_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = HfProject(tmp_path / "project")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertConfig(vocab_size=save_tokenizer(project.path / "model"), **sizes).save_pretrained(project.path / "model")
    rows = [{"text": text, "label": at % 3} for at, text in enumerate(STATEMENTS)]
    rows += [rows[5], rows[6], {**rows[7], "label": 2 if rows[7]["label"] != 2 else 1}]
    project.rows(rows)
    whole, some = both(project, monkeypatch, 10_000)
    assert (some.train_samples, some.val_samples) == (whole.train_samples, whole.val_samples)
    assert (some.train_counts, some.val_counts) == (whole.train_counts, whole.val_counts)
    assert (some.overlap, some.about, some.fingerprint) == (whole.overlap, False, whole.fingerprint)
    known, told = findings(whole), findings(some)
    assert [known.get(name) for name in KINDS] == [told.get(name) for name in KINDS]
    assert {"duplicates", "contradiction"} & told.keys()
    facts = told["sampled"].facts
    assert facts["rows"] == whole.train_samples
    assert 200 < facts["tokenised"] < 500
    assert "sampled" not in known


def test_of_answers_tokens_and_rows_left_out_are_estimates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = HfProject(tmp_path / "project")
    save_llama(project.path / "model")
    rows = [{"prompt": asked if at % 4 else 20 * asked, "completion": said} for at, (asked, said) in
            enumerate(QUESTIONS * 10)]  # fmt: skip
    project.rows(rows)
    whole, some = both(project, monkeypatch, 20_000, sequence_length=64)
    exact, about = findings(whole), findings(some)
    assert whole.dropped == 250  # the answers of the long ones lie beyond the context
    assert some.dropped == pytest.approx(250, rel=0.1)
    assert some.train_samples == pytest.approx(whole.train_samples, rel=0.1)
    assert some.about
    assert validate.counts(some).startswith("about ")
    assert about["no_loss"].message.startswith("about ")
    for name in ("tokens", "with_loss"):
        assert about["loss_tokens"].facts[name] == pytest.approx(exact["loss_tokens"].facts[name], rel=0.1)
    assert about["overlong"].facts["estimate"] and "of those counted" in about["overlong"].message
    assert "would hold all" not in about["overlong"].advice
    assert about["duplicates"].facts["samples"] == pytest.approx(exact["duplicates"].facts["samples"], rel=0.4)


def test_few_characters_are_all_tokenised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = HfProject(tmp_path / "project")
    save_llama(project.path / "model")
    project.rows([{"prompt": asked, "completion": said} for asked, said in QUESTIONS])
    whole, some = both(project, monkeypatch, 10_000)
    assert whole == some
    assert not whole.about


def test_rows_of_a_period_do_not_fall_in_with_those_that_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = HfProject(tmp_path / "project")
    save_llama(project.path / "model")
    rows = [{"prompt": "x" * 80 if at % 4 == 0 else "x", "completion": str(at)} for at in range(2000)]
    project.rows(rows)
    monkeypatch.setattr(_hf_sampled, "WRITTEN", 500)
    few(monkeypatch, 10**9)
    found = project.split(val_data="none", sequence_length=64)
    assert found.about
    assert found.train_samples == pytest.approx(1500, rel=0.1)


def test_a_part_is_not_judged_by_too_few_of_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = HfProject(tmp_path / "project")
    save_llama(project.path / "model")
    project.rows([{"prompt": "x", "completion": str(at)} for at in range(2000)])
    held = [{"prompt": "x" * (80 if at < 95 else 1), "completion": f"of {at}"} for at in range(100)]
    project.rows(held, "held.jsonl")
    monkeypatch.setattr(_hf_sampled, "WRITTEN", 100)
    few(monkeypatch, 10**9)
    monkeypatch.setattr(_hf_sampled, "FEWEST", 1)
    found = project.split(val_data="held.jsonl", sequence_length=64)
    assert found.val_samples == 5
    assert found.overlap == 0


def test_every_row_is_looked_at_for_what_cannot_be_read_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = HfProject(tmp_path / "project")
    save_llama(project.path / "model")
    few(monkeypatch, 2000)
    project.rows([{"prompt": "x", "completion": 7 if at == 613 else str(at)} for at in range(2000)])
    assert "row 614 of data.jsonl" in project.refusal(val_data="split")
    project.rows([{"text": 7 if at == 613 else str(at), "label": at % 2} for at in range(2000)])
    assert "614" in project.refusal(val_data="split")


def test_conversations_that_differ_in_anything_at_all_are_no_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = HfProject(tmp_path / "project")
    save_llama(project.path / "model")
    calls = [[{"type": "function", "function": {"name": f"f{at}", "arguments": "{}"}}] for at in range(400)]
    rows = [
        {"messages": [{"role": "user", "content": "go"}, {"role": "assistant", "content": "ok", "tool_calls": call}]}
        for call in calls
    ]
    project.rows([*rows, rows[0], rows[0]])
    few(monkeypatch, 3000)
    found = project.split(val_data="split")
    assert "sampled" in findings(found)
    copies = findings(found).get("duplicates")
    assert found.overlap + (copies.facts["samples"] if copies else 0) <= 2

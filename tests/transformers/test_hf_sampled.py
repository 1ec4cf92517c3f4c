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
    whole = project.split(val_data="split", **changes)
    patch.setattr(_hf_sampled, "AFFORDED", characters)
    return whole, project.split(val_data="split", **changes)


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
    assert about["overlong"].facts["longest"] == exact["overlong"].facts["longest"]
    assert about["duplicates"].facts["samples"] == pytest.approx(exact["duplicates"].facts["samples"], rel=0.4)


def test_few_characters_are_all_tokenised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = HfProject(tmp_path / "project")
    save_llama(project.path / "model")
    project.rows([{"prompt": asked, "completion": said} for asked, said in QUESTIONS])
    whole, some = both(project, monkeypatch, 10_000)
    assert whole == some
    assert not whole.about

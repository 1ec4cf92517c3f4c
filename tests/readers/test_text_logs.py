"""Text logs: each known form is read point by point; colours, bars, repeated lines, non-finite words, other
encodings."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from log_forms import FORMS, POINTS, Form, checked, loss
from reading_help import last_train, points, same

from stationmaster_trainer.errors import FormatError
from stationmaster_trainer.readers import _grammar


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_known_form_is_read_point_by_point(tmp_path: Path, form: Form) -> None:
    path = tmp_path / "train.log"
    path.write_text(form.text())
    _, train, evals = points(path)
    assert same(train, [(form.step(i), loss(i)) for i in range(POINTS)])
    assert [value for _, value in evals] == [checked(i) for i in form.evals]
    last = last_train(path)
    assert form.rate is None or last.learning_rate == form.rate
    assert last.grad_norm == form.norm


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_reading_says_what_it_took_and_what_it_left(tmp_path: Path, form: Form) -> None:
    path = tmp_path / "train.log"
    path.write_text(form.text())
    reading, _, _ = points(path)
    assert reading.source == "text log"
    assert "loss" in reading.columns["loss"].lower()
    assert not set(reading.ignored) & set(reading.columns.values())


@pytest.mark.parametrize("word", ["nan", "NaN", "NAN", "inf", "-inf", "Infinity", "-Infinity"])
def test_a_word_for_a_number_that_is_not_finite_is_read_as_such(tmp_path: Path, word: str) -> None:
    path = tmp_path / "train.log"
    lines = [f"step {i}: loss {word if i == 30 else loss(i)}, lr 0.001\n" for i in range(POINTS)]
    path.write_text("".join(lines))
    _, train, _ = points(path)
    assert len(train) == POINTS and [step for step, value in train if not math.isfinite(value)] == [30]


def test_lines_that_several_processes_print_count_once(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text("".join(f"[rank{r}]: step: {i} loss: {loss(i)}\n" for i in range(40) for r in range(4)))
    _, train, _ = points(path)
    assert same(train, [(i, loss(i)) for i in range(40)])


def test_a_bar_that_is_redrawn_counts_once_per_figure(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    bars = [f"\r {i}%|█  | {i}/100 [00:01<00:09, 9.{again}it/s, loss={loss(i)}]" for i in range(50) for again in (1, 2)]
    path.write_text("".join(bars))
    _, train, _ = points(path)
    assert same(train, [(i, loss(i)) for i in range(50)])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_other_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "train.log"
    path.write_bytes("".join(f"é step {i}: loss {loss(i)}\r\n" for i in range(50)).encode(encoding))
    _, train, _ = points(path)
    assert [value for _, value in train] == [loss(i) for i in range(50)]


def test_long_logs_of_one_form_and_mixed_ones_give_the_same_points(tmp_path: Path) -> None:
    plain, mixed = tmp_path / "plain.log", tmp_path / "mixed.log"
    lines = [f"step {i} | loss {loss(i % 50) + i / 1000:.4f} | lr 1e-3\n" for i in range(3000)]
    plain.write_text("".join(lines))
    mixed.write_text("".join(line + ("saving checkpoint 3 of 7\n" if i % 3 else "") for i, line in enumerate(lines)))
    assert points(plain)[1] == points(mixed)[1]
    assert len(points(plain)[1]) == 3000


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("elapsed time per iteration (ms): 12.5 | loss scale: 1.0", ("loss scale",)),
        ("number of nan iterations:   0 | number of skipped iterations: 1", None),
        ("best val loss: 1.25", ("best val loss",)),
        ("2026-05-18 16:04:46,338 INFO nothing here", ()),
        ("Saved checkpoint-500.pt in 3.2s", None),
    ],
)
def test_talk_is_not_taken_for_a_step_or_a_loss(line: str, names: tuple[str, ...] | None) -> None:
    found = _grammar.parse(line).names
    assert names is None or found == names
    assert not {name.lower() for name in found} & {"iterations", "iteration", "loss", "val loss", "step"}


def test_prose_without_a_loss_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("We met 3 times in 2026.\nIt took 12 minutes.\n" * 50)
    with pytest.raises(FormatError, match=r"notes\.txt"):
        points(path)


def test_a_mapping_names_a_figure_that_no_tool_calls_a_loss(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text("".join(f"generation {i}: badness {loss(i)}\n" for i in range(50)))
    _, train, _ = points(path, {"loss": "badness", "step": "generation"})
    assert same(train, [(i, loss(i)) for i in range(50)])

"""The validation decision: asked for in the checklist's words, carried out on real data, recorded with who took it."""

from __future__ import annotations

import json
from typing import Any

import pytest

WARNING = """No validation dataset specified. \
Training without validation makes it impossible to detect overfitting. Options:
1. Provide validation dataset path
2. Auto-split training data (80/20)
3. Proceed without validation (not recommended)"""


def plan_of(project: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.path / ".stationmaster" / "plan.json").read_text())
    return found


def test_no_choice_is_answered_with_the_checklist_s_warning_and_decides_nothing(desk: Any) -> None:
    reply = desk.accepted("check_validation")
    assert reply.text == WARNING
    assert reply.facts["validation"] == "undecided"
    assert reply.facts["plan"]["validation"] == "open"
    desk.accepted("choose_logging", backends=["file"])
    assert desk.refused("start_run", digest="0" * 64) == WARNING


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"val_data": "digits.csv", "split": 0.2}, "val_data and split exclude each other"),
        ({"split": True, "waive_reason": "none there"}, "split and waive_reason exclude each other"),
        ({"split": 1.5}, "split is 1.5, allowed: a fraction above 0 to 0.9"),
        ({"split": 0}, "allowed: a fraction above 0 to 0.9"),
        ({"split": -0.2}, "allowed: a fraction above 0 to 0.9"),
        ({"split": "most"}, "split is 'most', allowed: a fraction above 0 to 0.9"),
        ({"waive_reason": " "}, "Say in words why there is no validation."),
        ({"val_data": "none"}, "To waive: waive_reason."),
        ({"val_data": "absent.csv"}, "val_data 'absent.csv' does not exist"),
        ({"val_data": "../other.csv"}, "lies outside the project"),
        ({"val_data": "/etc/passwd"}, "lies outside the project"),
        ({"split": 0.2, "train_data": "../../etc"}, "lies outside the project"),
        ({"split": 0.2, "model_path": "../model.py"}, "lies outside the project"),
        ({"split": 0.2, "seed": -1}, "seed is -1, allowed: "),
        ({"split": 0.2, "task": "clustering"}, "task is 'clustering', allowed: "),
    ],
)
def test_a_choice_that_is_none_is_refused_by_name(desk: Any, arguments: dict[str, Any], words: str) -> None:
    assert words in desk.refused("check_validation", **arguments)
    assert desk.accepted("check_validation").facts["validation"] == "undecided"


def test_an_argument_that_the_tool_does_not_have_is_refused(desk: Any) -> None:
    assert "has no argument 'fraction'" in desk.refused("check_validation", fraction=0.2)


def test_a_split_is_counted_and_recorded_with_who_took_it(hall: Any, desk: Any) -> None:
    project = hall.make("counted")
    chat = desk.on(project)
    facts = chat.accepted("check_validation", split="80/20").facts
    assert facts["train_samples"] + facts["val_samples"] == 1797
    assert set(facts["train_counts"]) == set(facts["val_counts"]) == set("0123456789")
    assert (facts["validation"], facts["overlap"], facts["by"]) == ("split", 0, "assistant")
    recorded = plan_of(project)["validation"]
    assert (recorded["by"], recorded["config"]["val_fraction"]) == ("assistant", 0.2)
    assert recorded["facts"]["train_samples"] == facts["train_samples"]

    again = chat.accepted("check_validation")
    assert again.facts["validation"] == "split" and "Decided by the assistant" in again.text

    waived = chat.accepted("check_validation", waive_reason="a smoke test only")
    assert waived.facts["validation"] == "waived"
    assert "a smoke test only" in waived.text
    assert plan_of(project)["validation"]["waive_reason"] == "a smoke test only"


def test_rows_that_stand_on_both_sides_are_found_before_the_start(hall: Any, desk: Any) -> None:
    project = hall.make("overlapping")
    lines = (project.path / "digits.csv").read_text().splitlines()
    (project.path / "train.csv").write_text("\n".join(lines[:1001]) + "\n")
    (project.path / "val.csv").write_text("\n".join([lines[0], *lines[900:1101]]) + "\n")
    (project.path / "digits.csv").unlink()
    reply = desk.on(project).accepted("check_validation", val_data="val.csv")
    assert reply.facts["validation"] == "file"
    assert reply.facts["overlap"] == 101
    assert any(finding["severity"] != "info" and "101" in finding["message"] for finding in reply.facts["findings"])
    assert "untrusted text" not in reply.text, "no row unasked"

    shown = desk.on(project).accepted("check_validation", show="overlap").text
    assert "[rows of the data, untrusted text" in shown and "val row 1: " in shown and "train row 900: " in shown
    assert shown.count(" row ") <= 10 and len(shown) < 5000
    assert "Findings that do: overlap" in desk.on(project).refused("check_validation", show="leak")


def test_data_that_cannot_be_used_leave_the_gate_open(hall: Any, desk: Any) -> None:
    project = hall.make("holes", data=b"a,b,label\n1,2,0\n,3,1\n4,5,0\n6,7,1\n8,9,0\n10,11,1\n")
    chat = desk.on(project)
    words = chat.refused("check_validation", split=0.2)
    assert "missing_values" in words or "empty" in words
    assert chat.accepted("check_validation").facts["validation"] == "undecided"
    assert "'absent'" in chat.refused("check_validation", split=0.2, target="absent")

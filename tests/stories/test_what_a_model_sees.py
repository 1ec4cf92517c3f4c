"""What reaches a model: some clients hand it the text alone, others the structured content alone."""

from __future__ import annotations

from typing import Any


def test_the_structured_content_alone_tells_the_whole_answer_once(chat: Any) -> None:
    tool, arguments = "choose_logging", {"project_dir": str(chat.project), "backends": ["file"]}
    result = chat.portal.call(chat.client.call_tool, tool, arguments)
    (content,), structured = result.content, result.structured_content
    assert list(structured) == ["text", "plan"] and structured["text"] == content.text
    assert structured["plan"]["logging"] == "passed"
    assert result.meta["stationmaster/facts"]["logging"] == ["file"]


def test_of_runs_and_alerts_the_structured_content_holds_what_names_them() -> None:
    from stationmaster_server.answer import answer, facts_of

    alert = {
        "rule": "loss_spike",
        "severity": "warning",
        "first_step": 3,
        "last_step": 4,
        "message": "long",
        "advice": "",
    }
    result = answer("text", alerts=[alert], loss=1.0, run="net-1")
    assert result.structured_content == {
        "text": "text",
        "run": "net-1",
        "alerts": [{"rule": "loss_spike", "severity": "warning", "first_step": 3, "last_step": 4}],
    }
    assert facts_of(result) == {"alerts": [alert], "loss": 1.0, "run": "net-1"}


def test_a_change_is_answered_with_the_lines_that_it_changed(chat: Any) -> None:
    chat.accepted("choose_logging", backends=["file"])
    chat.accepted("check_validation", split=0.2)
    whole = chat.accepted("propose_config").text
    assert "weight_decay: 0.01" in whole and "as shown before" not in whole
    changed = chat.accepted("propose_config", changes={"learning_rate": 0.002}).text
    assert "learning_rate: 0.002  # changed, default 0.001" in changed and "weight_decay" not in changed
    assert "other lines are as shown before; propose_config without changes shows all" in changed
    assert changed.endswith("Does this configuration look correct? Any changes?")
    assert len(changed) < len(whole) / 2
    again = chat.accepted("propose_config").text
    assert "learning_rate: 0.002  # changed" in again and "weight_decay: 0.01" in again

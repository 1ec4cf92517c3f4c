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

"""Actions are an entry of the configuration like any other: shown with a reason, checked, and bound by the digest."""

from __future__ import annotations

from typing import Any

import pytest


def test_actions_are_shown_with_reason_and_source_and_change_the_digest(desk: Any) -> None:
    shown = desk.confirmed()
    assert "actions: {}  # every rule warns and stops nothing; stop, rollback when set [checklist]" in shown.text
    changed = desk.accepted("propose_config", changes={"actions": {"non_finite": "rollback"}})
    assert changed.facts["digest"] not in (None, shown.facts["digest"])
    assert '"non_finite": rollback' in changed.text and "rollback_rate_factor: 0.5" in changed.text
    again = desk.accepted("propose_config", changes={"rollback_rate_factor": 0.1})
    assert again.facts["digest"] not in (shown.facts["digest"], changed.facts["digest"])
    back = desk.accepted("propose_config", changes={"actions": None, "rollback_rate_factor": None})
    assert back.facts["digest"] == shown.facts["digest"]


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        ({"loss_spikes": "stop"}, ["unknown rule 'loss_spikes'", "Known rules", "loss_spike,"]),
        ({"loss_spike": "halt"}, ["actions.loss_spike is 'halt'", "Allowed: alert, stop, rollback"]),
        ({"overfitting": "rollback"}, ["'overfitting' cannot roll back", "divergence, grad_norm_spike"]),
        ("stop", ["actions is 'stop'", "an object of rules"]),
    ],
)
def test_an_action_that_cannot_be_is_refused_with_what_can(desk: Any, actions: Any, words: list[str]) -> None:
    reply = desk("propose_config", changes={"actions": actions})
    assert reply.is_error
    for word in words:
        assert word in reply.text

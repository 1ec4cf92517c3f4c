"""The tool after a run: its best model on a held-out test set."""

from __future__ import annotations

from mcp_types import CallToolResult, ToolAnnotations

from ..answer import answer
from ..app import Stationmaster
from ..roots import Roots

_LOOKS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
WAIT_SECONDS = 45.0


def register(server: Stationmaster, roots: Roots) -> None:
    """Adds `evaluate_run`."""

    @server.tool(title="Evaluate on a test set", annotations=_LOOKS, structured_output=False)
    def evaluate_run(project_dir: str, test_data: str, run: str | None = None) -> CallToolResult:
        """Scores the best checkpoint of a run (default: the newest) on held-out data. Returns the metrics with 95 %
        intervals, overlap with the training data, and how often the set was used. Refuses what was trained on."""
        from .. import testreport
        from ..evaluate import evaluate

        scored = evaluate(roots.project(project_dir), run, test_data, WAIT_SECONDS)
        name = scored.run.name
        if scored.facts is None:
            text = f"{name} is still being scored on {test_data}; call evaluate_run again for the figures."
            return answer(text, run=name, evaluation=scored.request.number, done=False)
        facts = testreport.as_facts(scored.facts)
        return answer(testreport.text(name, scored.facts, scored.new), run=name, done=True, new=scored.new, **facts)

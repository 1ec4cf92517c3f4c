"""The tool that closes the conversation: the report of a run, written beside it."""

from __future__ import annotations

from mcp_types import CallToolResult, ToolAnnotations

from ..answer import answer
from ..app import Stationmaster
from ..roots import Roots

_WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)


def register(server: Stationmaster, roots: Roots) -> None:
    """Adds `summarize`."""

    @server.tool(title="Summarize a run", annotations=_WRITES, structured_output=False)
    def summarize(project_dir: str, run: str | None = None) -> CallToolResult:
        """Returns the summary report of a run (default: the newest) in any state: totals, losses, checkpoints, logs,
        validation decision, alerts, recommendation with evidence. Writes report.md and report.svg beside the run."""
        from .. import page

        text, facts = page.summarize(roots.project(project_dir), run)
        return answer(text, **facts)

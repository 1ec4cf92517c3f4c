"""The tool that opens the conversation: what the project holds, what would be trained, on what, with which Python."""

from __future__ import annotations

from mcp_types import CallToolResult, ToolAnnotations

from ..answer import answer
from ..app import Stationmaster
from ..roots import Roots


def register(server: Stationmaster, roots: Roots) -> None:
    """Adds `inspect_project`."""

    @server.tool(
        title="Inspect a project",
        annotations=ToolAnnotations(
            read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
        ),
        structured_output=False,
    )
    def inspect_project(project_dir: str) -> CallToolResult:
        """Looks at a project without importing its code. Returns the framework, entry points, models, data files with
        rows and classes, the Python that would train, the hardware, what is missing and the next step."""
        from ..inspection import text
        from ..inspection_facts import plain
        from ..project import inspect

        facts = inspect(roots.project(project_dir))
        return answer(text(facts), **plain(facts))

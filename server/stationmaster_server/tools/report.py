"""The tools that look back: the report of a run, written beside it, and the diagnosis of any training log."""

from __future__ import annotations

import time

from mcp_types import CallToolResult, ToolAnnotations

from ..answer import answer
from ..app import Stationmaster
from ..roots import Roots, inside

_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)


def register(server: Stationmaster, roots: Roots) -> None:
    """Adds `summarize` and `diagnose`."""
    _summarize(server, roots)
    _diagnose(server, roots)


def _summarize(server: Stationmaster, roots: Roots) -> None:
    @server.tool(title="Summarize a run", annotations=_WRITES, structured_output=False)
    def summarize(project_dir: str, run: str | None = None) -> CallToolResult:
        """Returns the summary report of a run (default: the newest) in any state: totals, losses, checkpoints, logs,
        alerts, recommendation with evidence. Writes report.md and report.svg beside the run."""
        from .. import page

        text, facts = page.summarize(roots.project(project_dir), run)
        return answer(text, **facts)


def _diagnose(server: Stationmaster, roots: Roots) -> None:
    @server.tool(title="Diagnose a training log", annotations=_READS, structured_output=False)
    def diagnose(
        project_dir: str, log: str, run: str | None = None, columns: dict[str, str] | None = None
    ) -> CallToolResult:
        """Judges a training log of any tool, finished or running: TensorBoard, W&B, Trainer, Lightning,
        Keras, CSV, JSON, text. Returns verdict, evidence, alerts, and what each column was taken for;
        columns corrects that: {"loss": "train/nll"}."""
        from .. import diagnosis, live, livewords
        from ..diagnose import diagnose as diagnosed

        project = roots.project(project_dir)
        path = inside(project, log, "log")
        if not live.followed(path):
            found = diagnosed(path, columns, run)
            return answer(diagnosis.text(found), **diagnosis.facts(found))
        seen, now = live.of(path, columns, run, project), time.time()
        judged, pulse = seen.look(), seen.pulse()
        found = judged.answer()
        said = diagnosis.text(found, livewords.line(pulse, judged, now))
        return answer(said, **diagnosis.facts(found), live=livewords.facts(pulse, now))

"""The tools of the gates before a start: logging, validation, configuration."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mcp_types import CallToolResult, ToolAnnotations

from ..answer import answer
from ..app import Stationmaster
from ..roots import Roots

if TYPE_CHECKING:
    from stationmaster_trainer.facts import BatchFacts, RateFacts

    from ..plan import Plan
    from ..proposal_text import Shown

_DECIDES = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)


def register(server: Stationmaster, roots: Roots) -> None:
    """Adds `choose_logging`, `check_validation` and `propose_config`."""
    _choose_logging(server, roots)
    _check_validation(server, roots)
    _propose_config(server, roots)


def _choose_logging(server: Stationmaster, roots: Roots) -> None:
    @server.tool(title="Choose logging", annotations=_DECIDES, structured_output=False)
    def choose_logging(project_dir: str, backends: list[str]) -> CallToolResult:
        """Records where metrics go: any of file, tensorboard, wandb, trackio, as the person chose. The file log is
        always written. Refuses a backend whose package is missing, with the install command."""
        from .. import backends as gate
        from .. import checklist, plan

        project = roots.project(project_dir)
        with plan.locked(project):
            now = plan.save(project, gate.choose(plan.load(project), backends))
        chosen = now.logging.backends if now.logging else ()
        also = "" if "file" in backends else " (the local file log is always written)"
        lines = [f"Logging: {', '.join(chosen)}{also}.", gate.note(chosen), checklist.line(now)]
        return answer("\n".join(filter(None, lines)), plan=checklist.overview(now), logging=chosen)


def _check_validation(server: Stationmaster, roots: Roots) -> None:
    @server.tool(title="Decide on validation", annotations=_DECIDES, structured_output=False)
    def check_validation(
        project_dir: str,
        val_data: str | None = None,
        split: bool | float | str | None = None,
        waive_reason: str | None = None,
        train_data: str | None = None,
        model_path: str | None = None,
        target: str | None = None,
        task: str | None = None,
        group_column: str | None = None,
        seed: int | None = None,
        missing_values: str | None = None,
        show: str | None = None,
    ) -> CallToolResult:
        """Records the validation decision: val_data (a path), split (a fraction; true is 80/20) or waive_reason.
        Reads the data and returns counts per side, classes and findings; show=finding: its rows. With none of them
        it returns the options."""
        from .. import checklist, config, plan, validate

        project = roots.project(project_dir)
        named = {
            "train_data": train_data, "model_path": model_path, "target": target, "task": task,
            "group_column": group_column, "seed": seed, "missing_values": missing_values,
        }  # fmt: skip
        given = config.parse({key: value for key, value in named.items() if value is not None})
        decision = validate.choice(val_data, split, waive_reason)
        with plan.locked(project):
            now = plan.load(project)
            if decision is None:
                return _undecided(project, now, show)
            now, _ = validate.decide(project, now, decision, {**now.changes, **given})
            now = plan.save(project, now)
        assert now.validation is not None  # decided above
        text = (
            f"{validate.report(now.validation)}\nRecorded as decided by the {now.validation.by}.\n{checklist.line(now)}"
        )
        text += f"\n{validate.examples(project, now.validation, show)}" if show else ""
        facts = now.validation.facts
        return answer(
            text,
            plan=checklist.overview(now),
            validation=_word(now),
            method=facts.method,
            train_samples=facts.train_samples,
            val_samples=facts.val_samples,
            about=facts.about,
            dropped=facts.dropped,
            train_counts=facts.train_counts,
            val_counts=facts.val_counts,
            overlap=facts.overlap,
            findings=facts.findings,
            by=now.validation.by,
        )


def _undecided(project: Path, now: Any, show: str | None) -> CallToolResult:
    """The checklist's warning; a decision that stands is told instead."""
    from .. import adopt, checklist, validate

    if now.validation is not None and show:
        return answer(validate.examples(project, now.validation, show), validation=_word(now))
    if now.validation is not None:
        text = (
            f"{validate.report(now.validation)}\nDecided by the {now.validation.by}; give another choice to change it."
        )
        return answer(text, plan=checklist.overview(now), validation=_word(now))
    warning = adopt.options(project, now.changes) if adopt.is_script(now.changes) else checklist.VALIDATION_WARNING
    return answer(warning, plan=checklist.overview(now), validation="undecided")


def _word(now: Any) -> str:
    val_data = str(now.validation.val_data)
    return {"none": "waived", "split": "split", "build_data": "build_data"}.get(val_data, "file")


def _propose_config(server: Stationmaster, roots: Roots) -> None:
    shown_before: dict[Path, str] = {}  # of this server, that is of this client: by project

    @server.tool(title="Propose the configuration", annotations=_DECIDES, structured_output=False)
    def propose_config(
        project_dir: str,
        changes: dict[str, Any] | None = None,
        preflight: Literal["smoke", "batch_size", "learning_rate"] | None = None,
    ) -> CallToolResult:
        """Measures the model and returns the whole configuration with reasons, to be shown to the person, and the
        digest for start_run. changes: keys with new values, kept over calls; null takes one back. preflight: tries
        it first; call again until it answers."""
        from .. import plan, proposal_text
        from .. import preflight as tried
        from ..propose import propose

        project, begun = roots.project(project_dir), time.monotonic()
        with plan.locked(project):
            now, shown = propose(project, plan.load(project), changes or {})
            now = plan.save(project, now)
        if preflight is not None:
            found = tried.ask(project, now, preflight, max(1.0, tried.SECONDS - (time.monotonic() - begun)))
            if not isinstance(found, plan.Smoke):
                return _tried(now, found)
            with plan.locked(project):
                now, shown = propose(project, replace(plan.load(project), smoke=found), {})
                now = plan.save(project, now)
        before = shown_before.get(project) if changes or preflight else None
        shown_before[project] = proposal_text.yaml(shown)
        return _shown(now, shown, before)


def _tried(now: Plan, found: BatchFacts | RateFacts) -> CallToolResult:
    """What was found about batch or rate; the configuration stays as it was shown."""
    from stationmaster_trainer.facts import BatchFacts

    from .. import checklist, preflight_text

    assert now.proposal is not None  # it was tried
    config = now.proposal.config
    text = preflight_text.batch(found, config) if isinstance(found, BatchFacts) else preflight_text.rates(found, config)
    return answer(text, plan=checklist.overview(now), preflight=found)


def _shown(now: Plan, shown: Shown, before: str | None) -> CallToolResult:
    """The proposal, as far as this client has not been shown it already."""
    from .. import checklist, proposal_text

    digest = now.proposal.digest if now.proposal else None
    return answer(
        proposal_text.text(shown, digest, checklist.line(now), before),
        plan=checklist.overview(now),
        digest=digest,
        run=now.run_name,
        total_steps=shown.config.total_steps,
        config=shown.config,
        changes=proposal_text.differences(shown.changes),
        parameters=shown.model.parameters,
        findings=shown.findings,
        smoke_test=now.proposal.smoke.facts if now.proposal and now.proposal.smoke else None,
    )

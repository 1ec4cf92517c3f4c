"""Looks before the start: a smoke test, the largest batch, three learning rates; asked of the Python that will train.

A smoke test is of one configuration, its code and its data: it stands while these do, and is part of what is confirmed.
What it takes lasts longer than a call: the same call again gets the answer (`lasting`).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from stationmaster_trainer import codec
from stationmaster_trainer.contract import TrainingConfig
from stationmaster_trainer.errors import GateError
from stationmaster_trainer.facts import Answer, BatchFacts, Finding, RateFacts, Request

from . import __version__, checklist, digest, lasting, leases, trust
from .measured import ANSWERS
from .plan import FOLDER, Plan, Proposal, Smoke

Kind = Literal["smoke", "batch_size", "learning_rate"]
KINDS: tuple[str, ...] = get_args(Kind)
SECONDS = 45.0
"""How long one call lasts, what the proposal itself takes included; clients give up after a minute."""
PART = "smoke test"
"""Its name among the parts of the digest."""
NO_MATTER = (
    "run_name", "checkpoint_dir", "logging", "actions", "rollback_rate_factor", "max_hours", "max_disk_gb", "when_busy",
    "keep_checkpoints", "early_stopping_patience", "log_every", "validate_every", "checkpoint_every",
)  # fmt: skip
"""Keys that change nothing about a step: names, places, limits, and how often something is written."""


def ask(project: Path, now: Plan, kind: Kind, seconds: float = SECONDS) -> Smoke | BatchFacts | RateFacts:
    """What was found for the configuration last shown. GateError while a gate is open or the device is taken;
    NotYetError when it goes on after `seconds`; else what the measuring raises.
    """
    proposal = _tried(now, kind)
    script = proposal.config.framework == digest.SCRIPT
    known = now.smoke
    basis = _basis(proposal.config, proposal.parts)
    if kind == "smoke" and known is not None and known.basis == basis and not _broken(known.facts.findings):
        return known
    device = "" if script else leases.named(proposal.config.device, proposal.facts.device)
    _free(proposal, device)
    options = {
        "run": proposal.config.run_name,
        "facts": codec.to_plain(proposal.facts),
        "lease": device,
        "share": proposal.config.when_busy == "share",
    }
    request = Request(kind, str(project), config=codec.to_plain(proposal.config), options=options)
    key, answers = digest.sha256([basis, __version__]), project / FOLDER / ANSWERS
    answer: Answer = lasting.measure(request, proposal.python, answers, key, seconds)
    if answer.smoke is None:
        found: BatchFacts | RateFacts = getattr(answer, kind)
        return found
    if _broken(answer.smoke.findings):
        lasting.forget(answers, kind, key)  # once what was wrong is mended, it is tried anew
    return Smoke(answer.smoke, basis, time.time())


def standing(now: Plan, config: TrainingConfig, parts: Mapping[str, str]) -> Smoke | None:
    """The smoke test of this configuration, code and data; None when there is none."""
    known = now.smoke
    return known if known is not None and known.basis == _basis(config, parts) else None


def void(now: Plan, config: TrainingConfig, parts: Mapping[str, str]) -> str:
    """What has changed since the smoke test: `batch_size and the data`; empty when there was none or it stands."""
    known = now.smoke
    if known is None:
        return ""
    before, basis = known.basis, _basis(config, parts)
    names = [key for key in basis if key not in digest.NAMED and before.get(key) != basis[key]]
    names += [f"the {key}" for key in digest.NAMED if before.get(key) != basis[key]]
    shown = [*names[:4], *([f"{len(names) - 4} more"] if len(names) > 4 else [])]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def bound(parts: Mapping[str, str], smoke: Smoke | None) -> dict[str, str]:
    """The digest's parts with the smoke test among them."""
    return {**parts, **({PART: digest.sha256(smoke)} if smoke is not None else {})}


def require(project: Path, done: bool) -> None:
    """GateError when a policy file demands a smoke test of this configuration, and it was not `done`."""
    name = trust.policy(project).preflight.removeprefix(f"{project}/")
    if name and not done:
        raise GateError(
            f"{name} demands a smoke test before a start, and there is none of this configuration.",
            'Call propose_config with preflight "smoke", show what it found, and ask again.',
        )


def _basis(config: TrainingConfig, parts: Mapping[str, str]) -> dict[str, str]:
    """What a smoke test is of, hashed one by one: each key that matters, the code, the data and the Python."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    found = {name: digest.sha256(value)[:16] for name, value in values.items() if name not in NO_MATTER}
    return found | {name: parts[name] for name in digest.NAMED}


def _tried(now: Plan, kind: Kind) -> Proposal:
    """The proposal, when there is one that can be tried."""
    if now.proposal is None or now.stale:
        refusal = checklist.open_gate(now)
        assert refusal is not None  # without a proposal a gate is open
        raise refusal
    if kind != "smoke" and now.proposal.config.framework == digest.SCRIPT:
        raise GateError(f"{kind} is decided by the script, which runs as it is.", "Pass it in script_args if it can.")
    told = now.smoke.facts.findings if now.smoke is not None else ()
    errors = [one for one in now.proposal.findings if one.severity == "error" and one not in told]
    if errors and not (kind == "batch_size" and all(one.check == "memory" for one in errors)):
        raise GateError(f"It cannot be tried: {' '.join(one.message for one in errors)}", errors[0].advice)
    return now.proposal


def _free(proposal: Proposal, device: str) -> None:
    """GateError when another run uses the device and the configuration does not share it."""
    holder = leases.busy(device)
    if holder and proposal.config.when_busy != "share":
        raise GateError(f"{holder}: nothing was tried.", "Wait for it, or propose_config with when_busy share.")


def _broken(findings: tuple[Finding, ...]) -> bool:
    return any(one.severity == "error" for one in findings)

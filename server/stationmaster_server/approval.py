"""Who may say yes to a start: the project's policy file, the question to the person, and what a yes is recorded as."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stationmaster_trainer.errors import ConfigError, GateError

from .plan import ASSISTANT, FOLDER, Approval, Plan, approved

POLICY = f"{FOLDER}/policy.yaml"
"""The project's policy file, written by a person: `require_approval: person` demands a person's own yes."""
MAX_BYTES = 65_536
WAY_OUT = "A person can approve it in a terminal: stationmaster approve --project {project}"


def person_required(project: Path) -> bool:
    """Whether the policy file demands elicitation or `stationmaster approve`. ConfigError when it is unreadable."""
    path = project / POLICY
    try:
        if not path.is_file():
            return False
        text = path.read_bytes()[: MAX_BYTES + 1]
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from None
    value = _parse(path, text).get("require_approval", "assistant")
    if value not in ("person", "assistant"):
        raise ConfigError(f"{path}: require_approval is {value!r}, allowed: person or assistant.")
    return bool(value == "person")


def question(plan: Plan) -> str:
    """What a person is asked before the start: the essentials of the proposal."""
    proposal = plan.proposal
    assert proposal is not None  # asked only for a proposal
    warnings = [f"- {finding.message}" for finding in proposal.findings if finding.severity != "info"]
    lines = [f"Start training {proposal.config.run_name}?", proposal.summary, *warnings[:5]]
    return "\n".join([*lines, f"Digest {proposal.digest[:12]}. The configuration was shown by propose_config."])


def existing(plan: Plan, digest: str, *, person: bool) -> Approval | None:
    """The yes that is already recorded for this digest; with `person`, only a person's own."""
    found = approved(plan, digest)
    return None if found is not None and person and found.by == ASSISTANT else found


def refused(project: Path) -> GateError:
    """The start was declined, or the client never showed the question: the two cannot be told apart."""
    return GateError("The start was declined or not shown: nothing was started.", WAY_OUT.format(project=project))


def person_needed(project: Path) -> GateError:
    """The policy demands a person's yes, and this client cannot ask for it."""
    return GateError(
        f"{POLICY} demands that a person approves, and this client cannot ask: nothing was started.",
        WAY_OUT.format(project=project),
    )


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    import yaml

    if len(text) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES} bytes.")
    try:
        plain = yaml.safe_load(text) or {}
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not readable YAML: {str(error)[:200]}", "Correct it or remove it.") from None
    unknown = sorted(set(plain) - {"require_approval"}, key=str) if isinstance(plain, dict) else ["its content"]
    if unknown:
        raise ConfigError(f"{path}: unknown {unknown[0]!r}. Known: require_approval.", "Correct it or remove it.")
    return plain if isinstance(plain, dict) else {}

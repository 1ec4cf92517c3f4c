"""A script or command that trains, run as it is: its gates. What it decides itself is not asked.

The yes is bound to the command, the script with its local imports, the configurations that it names, and the Python.
Not covered: the data, which only the script knows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stationmaster_trainer import commandline, entry, redact, rundir
from stationmaster_trainer.contract import DataFacts, TrainingConfig
from stationmaster_trainer.errors import ConfigError, GateError, ModelError
from stationmaster_trainer.facts import Finding, ModelFacts, SplitFacts

from . import adopt_text, checklist, config, digest, notebook, preflight, preflight_text, scriptfacts
from .digest import BUILD_DATA, SCRIPT
from .interpreter import find_python
from .plan import Plan, Proposal, Validation
from .proposal_text import Shown
from .roots import inside
from .scriptfacts import ScriptFacts
from .subject import Subject

KEYS = (
    "framework", "model_path", "command", "script_args", "log_every", "run_name", "actions", "extra", "max_hours",
    "max_disk_gb", "when_busy",
)  # fmt: skip
"""Keys that apply to a script; the others are its own decisions."""
LASTING = ("run_name", "actions", "max_hours", "max_disk_gb", "when_busy")
"""Changes made for a model that still apply to a script."""
LOG_EVERY = 10
OWN = "script"
"""As `val_data`: the script validates by itself."""


def is_script(given: Mapping[str, Any]) -> bool:
    """Whether the person chose to run a script as it is."""
    return given.get("framework") == SCRIPT


def parse(project: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes with their types; `script` or `command` names what runs as it is, null goes back to a model.

    A notebook is written beside itself as a script, which is the one that runs.
    """
    typed = config.parse({key: value for key, value in changes.items() if key not in ("script", "command")})
    chosen = [key for key in ("script", "command") if key in changes]
    if not chosen:
        return typed
    key = next((key for key in chosen if changes[key] is not None), chosen[0])
    value = changes[key]
    if len([one for one in chosen if changes[one] is not None]) > 1:
        raise ConfigError("script and command were both given.", "Give one: the command names the script as well.")
    if value is None:
        return {"script_args": None, **typed, "framework": None, "model_path": None, "command": None}
    if key == "script":
        if not isinstance(value, str):
            raise ConfigError(config.refused(key, value, "a Python or shell script inside the project"))
        return {**typed, "framework": SCRIPT, **_script(project, value)}
    if not isinstance(value, str) and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
        raise ConfigError(config.refused(key, value, "a command line, as a text or a list of words"))
    return {"script_args": None, "framework": SCRIPT, **_command(project, value), **typed}


def _script(project: Path, name: str) -> dict[str, Any]:
    """A Python script or an exported notebook runs by itself, a shell script by its shell."""
    if name.endswith(notebook.SUFFIX):
        name = notebook.export(project, name)
    if Path(name).suffix not in commandline.SHELLS:
        return {"model_path": entry.resolve(name, project).relative_to(project.resolve()).as_posix(), "command": None}
    path = inside(project, name, "the script")
    if not path.is_file():
        raise ModelError(f"the script {name!r} does not exist in {project}.", "Check the name.")
    relative = path.relative_to(project.resolve()).as_posix()
    return {"model_path": relative, "command": (commandline.shell_of(path), relative)}


def _command(project: Path, given: str | list[str]) -> dict[str, Any]:
    """`python train.py …` is that script; any other command stays as it is."""
    words = commandline.split(given)
    if any(redact.text(word) != word for word in words):
        raise ConfigError("the command holds a secret.", "Leave it out: the run inherits HF_TOKEN and the like.")
    if words[0] in commandline.PYTHONS and len(words) > 1 and words[1].endswith(".py"):
        return {**_script(project, words[1]), "script_args": words[2:] or None}
    if Path(words[0]).suffix in commandline.SHELLS:
        return {**_script(project, words[0]), "script_args": words[1:] or None}
    return {"model_path": commandline.main_file(words, project), "command": words}


def words(given: Mapping[str, Any]) -> tuple[str, ...]:
    """The whole command of the changes."""
    command = given.get("command") or ("python", str(given["model_path"]))
    return (*command, *(given.get("script_args") or ()))


def kept(before: Mapping[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    """Earlier changes that still apply when this call chooses a script; all of them otherwise."""
    chosen = is_script(typed) and not is_script(before)
    return {key: value for key, value in before.items() if not chosen or key in LASTING}


def settled(plan: Plan, given: Mapping[str, Any]) -> Plan:
    """The plan without a validation decision that was made for something else."""
    found = plan.validation
    was, now = (one.get("model_path") if is_script(one) else None for one in (found.config if found else {}, given))
    if found is None or was == now:
        return plan
    return replace(plan, validation=None, proposal=None)


def decide(project: Path, plan: Plan, decision: Mapping[str, Any], changes: Mapping[str, Any], by: str) -> Plan:
    """Records how the script validates: by itself, as its source shows, or not at all, for a reason.

    Raises GateError in the checklist's words when no validation is found and none was waived.
    """
    script, val_data = str(changes["model_path"]), str(decision["val_data"])
    if val_data not in (OWN, BUILD_DATA, "none"):
        way_out = f'val_data "{OWN}" when it validates by itself; else add it there, or give waive_reason.'
        raise GateError(f"{script} runs as it is and chooses its own data: {val_data!r} cannot be set.", way_out)
    waived = val_data == "none"
    validation = _validation(
        project, changes, "none" if waived else BUILD_DATA, by, str(decision.get("waive_reason", ""))
    )
    if not waived and not validation.facts.method:
        raise GateError(
            f"In {script} no validation was found. {checklist.VALIDATION_WARNING}",
            "Option 1 and 2 are to be written into the script; to go on without: waive_reason.",
        )
    stale = "the validation decision changed" if plan.proposal is not None else ""
    same = plan.validation is not None and plan.validation.key == validation.key
    return replace(plan, validation=validation, changes=dict(changes), stale=plan.stale if same else stale)


def options(project: Path, changes: Mapping[str, Any]) -> str:
    """What can be decided about the validation of the script, with what was found in it."""
    script = str(changes["model_path"])
    found = scriptfacts.look(project, words(changes)).validation
    if not found:
        return f"In {script} no validation was found.\n{checklist.VALIDATION_WARNING}"
    return f'{script} seems to validate by itself: {", ".join(found)}. To record that: val_data "{OWN}".'


def _validation(project: Path, given: Mapping[str, Any], val_data: str, by: str, reason: str) -> Validation:
    found, script = scriptfacts.look(project, words(given)).validation, str(given["model_path"])
    method = f"by the script itself: {', '.join(found)}" if found else ""
    wanted = {"framework": SCRIPT, "model_path": script, "train_data": BUILD_DATA, "val_data": val_data}
    sha = commandline.sha256(words(given), project)
    facts = SplitFacts("none (waived)" if val_data == "none" else method, "custom", "the script's own", None, 0, 0)
    notes = ("Data: the script's own, not looked at.",)
    return Validation(val_data, wanted, facts, by, time.time(), reason, notes, digest.sha256([wanted, sha]))


def _again(project: Path, plan: Plan, given: Mapping[str, Any]) -> Plan:
    """The decision looked at anew when the script changed; it is open again when its validation is gone."""
    before = plan.validation
    if before is None:
        return plan
    now = _validation(project, given, before.val_data, before.by, before.waive_reason)
    if now.key == before.key:
        return plan
    return replace(plan, validation=replace(now, time=before.time) if now.facts.method else None)


def propose(
    project: Path, plan: Plan, given: dict[str, Any], name: str, by: str, exported: bool = False
) -> tuple[Plan, Shown, Proposal | None]:
    """The plan, what is shown, and the proposal once logging and validation are decided.

    `exported`: the script was just made from a notebook and is shown as a whole.

    Raises ConfigError for a key that the script decides, ModelError when the script cannot be read.
    """
    _refuse_others(given)
    script = str(given["model_path"])
    plan = _again(project, plan, given)
    python = find_python(project)
    found = commandline.runnable(words(given), python.path, project)
    seen = scriptfacts.look(project, words(given))
    resolved = _config(plan, given, name)
    source = rundir.read(project / script, entry.MAX_BYTES) if script.endswith(".py") else b""
    content = source.decode("utf-8", "replace")
    findings = (*_findings(script, seen, plan.validation), *_notebook_findings(project, script, content))
    facts = ModelFacts(script, {}, 0, 0, "unknown", ())
    split = plan.validation.facts if plan.validation else SplitFacts("", "custom", "the script's own", None, 0, 0)
    defaults = {"log_every": LOG_EVERY, "script_args": (), "actions": {}}
    changed = {key: (given[key], defaults[key]) for key in defaults if given.get(key, defaults[key]) != defaults[key]}
    why = adopt_text.why(resolved, python, seen, found)
    shown = Shown(resolved, {}, why, split, facts, findings, changed, plan.validation is not None, None)
    shown = replace(shown, exported=content if exported else "")
    if plan.logging is None or plan.validation is None:
        return plan, shown, None
    parts = digest.parts(project, resolved, python.path)
    smoke = preflight.standing(plan, resolved, parts)
    if smoke is None:
        since = plan.smoke.time if plan.smoke is not None else 0.0
        said = preflight_text.missing(preflight.void(plan, resolved, parts), since, script=True)
    else:
        said, findings = preflight_text.smoke(smoke, resolved, 0), (*findings, *smoke.facts.findings)
    shown, parts = replace(shown, smoke=said, findings=findings), preflight.bound(parts, smoke)
    proposal = Proposal(
        config=resolved,
        facts=DataFacts(0, 0, 0, 0, 0, entry_sha256=parts["model file"]),
        digest=digest.digest(parts),
        parts=parts,
        python=python.path,
        yaml=adopt_text.yaml(shown),
        findings=findings,
        summary=adopt_text.summary(shown),
        by=by,
        time=time.time(),
        signature=digest.signature(project, resolved),
        smoke=smoke,
    )
    return plan, shown, proposal


def _refuse_others(given: Mapping[str, Any]) -> None:
    others = [key for key in given if key not in KEYS]
    if others:
        raise ConfigError(
            f"{', '.join(others)}: decided by the script, which runs as it is.",
            "Pass it in script_args when the script takes it; null takes the change back.",
        )
    rolled = [rule for rule, action in (given.get("actions") or {}).items() if action == "rollback"]
    if rolled:
        raise ConfigError(f"actions.{rolled[0]} is 'rollback', allowed for a script: alert, stop.")


def _config(plan: Plan, given: Mapping[str, Any], name: str) -> TrainingConfig:
    """Zeros and `script` stand for what the script decides; they are neither shown nor used."""
    val_data = plan.validation.val_data if plan.validation else "undecided"
    own: dict[str, Any] = {
        "framework": SCRIPT, "train_data": BUILD_DATA, "val_data": val_data,
        "batch_size": 0, "gradient_accumulation": 0, "optimizer": "script", "learning_rate": 0.0, "weight_decay": 0.0,
        "betas": (0.0, 0.0), "warmup_steps": 0, "lr_schedule": "script", "total_steps": 0, "gradient_clip": 0.0,
        "dropout": None, "checkpoint_every": 0, "checkpoint_dir": f"./checkpoints/{name}", "log_every": LOG_EVERY,
        "validate_every": 0, "logging": plan.logging.backends if plan.logging else ("file",), "run_name": name,
        "task": "custom", "epochs": 0.0,
    }  # fmt: skip
    return TrainingConfig(**{**own, **given})


def _findings(script: str, seen: ScriptFacts, validation: Validation | None) -> list[Finding]:
    found = []
    if not seen.validation:
        found.append(Finding("validation", "warning", f"in {script} no validation was found; overfitting stays unseen"))
    if seen.watches:
        return found
    if not seen.saving:
        message = f"{script} saves no checkpoint that can be seen: when it ends early, all is lost"
        found.append(Finding("checkpoints", "warning", message, "Let it call torch.save now and then."))
    elif not seen.saves_optimizer:
        message = f"{script} saves ({seen.saving[0]}), but no optimizer state: it cannot be continued exactly"
        found.append(Finding("checkpoints", "info", message))
    return found


def _notebook_findings(project: Path, script: str, content: str) -> list[Finding]:
    """Of a script that was exported: whether its notebook is another one by now."""
    origin = notebook.origin(project, content)
    if origin is None or origin[1]:
        return []
    message = f"{origin[0]} changed or is gone since {script} was exported from it; {script} is what runs"
    return [Finding("notebook", "warning", message, f'Export it again: {{"script": "{origin[0]}"}}.')]


def subject(project: Path, given: Mapping[str, Any]) -> Subject:
    """The script in the place of a model."""
    return Subject(project, str(given["model_path"]), SCRIPT, BUILD_DATA, find_python(project), {})

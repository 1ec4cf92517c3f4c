"""The proposal of a script that runs as it is, as a person reads it: only the keys that apply, and what it decides."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from stationmaster_trainer import commandline
from stationmaster_trainer.contract import TrainingConfig

from . import configfile, validate
from .answer import clean, fence
from .checklist import QUESTION
from .interpreter import Interpreter
from .proposal_text import Shown, difference
from .scriptfacts import ScriptFacts

OWN = "data, batch size, optimizer, learning rate, schedule, steps, clipping, seed, device, checkpoints"
"""What the script decides."""
LONGEST = 10_000
"""Characters of an exported script that are shown."""
UNWATCHED = (
    "stop_run sends SIGTERM: nothing is saved but what the script saves then. resume_run: not available; with "
    "stationmaster.watch(model=…, optimizer=…) in the script it is."
)
WATCHED = "stop_run has a checkpoint saved, resume_run continues from the newest: the script calls stationmaster.watch."
HEADINGS = {
    "Script": ("model_path", "framework", "command", "script_args"),
    "Data": ("val_data",),
    "Logging": ("log_every", "logging"),
    "Checkpointing": ("checkpoint_dir",),
    "Run": ("run_name", "actions", "max_hours", "max_disk_gb", "when_busy"),
}


def why(config: TrainingConfig, python: Interpreter, seen: ScriptFacts, runs: Sequence[str]) -> dict[str, str]:
    """Key → the comment behind it. `runs`: the command with its programs as absolute paths."""
    programs = [word for word, given in zip(runs, commandline.words(config), strict=True) if word != given]
    validation = ", ".join(seen.validation) or "none found in the script"
    told = {
        "model_path": "what it is called by" if config.command else f"runs as it is, with {python.path}",
        "command": f"runs as it is, without a shell: {', '.join(programs)}",
        "script_args": "added to the command" if config.command else "its command line",
        "val_data": "waived" if config.val_data == "none" else f"in the script: {validation}",
        "log_every": "optimizer steps per record; slow steps are told every 2 s",
        "logging": "the local file log is always written, beside what the script writes",
        "actions": "every rule warns and stops nothing; stop when set",
    }
    if seen.watches:
        told["checkpoint_dir"] = f"by stationmaster.watch, {seen.watches}"
    return told


def yaml(shown: Shown) -> str:
    """The keys that apply, and below them what is not asked because the script decides it."""
    lines = []
    for heading, keys in HEADINGS.items():
        known = [key for key in keys if getattr(shown.config, key, None) is not None]
        known = [key for key in known if key != "command" or shown.config.command]
        known = [key for key in known if key != "checkpoint_dir" or key in shown.why]
        if not known:
            continue
        lines.append(f"# {heading}")
        lines += [configfile.line(key, getattr(shown.config, key), clean(shown.why.get(key, ""), 200)) for key in known]
    return "\n".join([*lines, f"# decided by the script, not by stationmaster: {OWN}"]) + "\n"


def command(config: TrainingConfig) -> str:
    """`python train.py --epochs 3`."""
    return clean(shlex.join(commandline.words(config)), 300)


def summary(shown: Shown) -> str:
    """The essentials in one line, for the question to the person and for the run's checklist."""
    validation = clean(shown.split.method, 200)
    return clean(
        f"{command(shown.config)}, unchanged; the script decides {OWN}; validation {validation}; "
        f"logging {', '.join(shown.config.logging)}.",
        600,
    )


def _exported(shown: Shown) -> list[str]:
    """The script that was made from a notebook, for the person to read before it runs."""
    if not shown.exported:
        return []
    path = clean(shown.config.model_path, 200)
    cut = len(shown.exported) > LONGEST
    rest = f"; {shown.exported[LONGEST:].count(chr(10)):,} more lines stand in the file" if cut else ""
    line = f"Written from the notebook, nothing else was changed; show it to the person before asking{rest}: {path}"
    return [line, fence(shown.exported[:LONGEST], path, LONGEST)]


def text(shown: Shown, digest: str | None, gates: str) -> str:
    """The whole answer; it ends with the checklist's question."""
    what = "command" if shown.config.command else "script"
    lines = [f"{command(shown.config)}: this {what} trains by itself and runs unchanged.", "```yaml"]
    lines += [yaml(shown).rstrip(), "```"]
    lines.append(f"Validation: {clean(shown.split.method, 300) or 'not decided'}.")
    lines += [shown.smoke] if shown.smoke else []
    lines += [clean(validate.finding_line(finding), 500) for finding in shown.findings]
    lines.append(WATCHED if "checkpoint_dir" in shown.why else UNWATCHED)
    if shown.changes:
        lines.append("Changed: " + "; ".join(difference(key, *pair) for key, pair in shown.changes.items()) + ".")
    lines += [gates, f"Digest: {digest}" if digest else "No digest yet: it comes when these gates are passed."]
    lines += _exported(shown)
    return "\n".join([*lines, QUESTION])

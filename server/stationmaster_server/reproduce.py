"""The same training once more: a new run with the configuration of an old one, when its files are still the same.

What surrounds it (packages, Python, commit, hardware) may differ; that is said, because the numbers may differ then.
The new run needs a yes of its own.
"""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import stationmaster_trainer
from stationmaster_trainer import codec, commandline, rundir
from stationmaster_trainer.contract import FORMAT, SCRIPT, Spec, TrainingConfig
from stationmaster_trainer.errors import FormatError, RunError
from stationmaster_trainer.rundir import RUNS, RunDir

from . import approval, children, configfile, decisions, digest, preflight, runs, seal, trust, unchanged
from .answer import clean, plain
from .checklist import Gate
from .interpreter import find_python
from .plan import ASSISTANT, locked
from .roots import inside
from .views import RunView, read_spec

ASKING = Path(stationmaster_trainer.__file__).parent / "scripts" / "stationmaster_environment.py"
SECONDS = 60.0
MAX_NAME = 90
_COMPARED = {
    "stationmaster": "stationmaster",
    "Python": "python.version",
    "hash seed": "python.hash_seed",
    "platform": "platform",
    "CPU": "cpu.model",
    "usable CPUs": "cpu.usable",
    "GPUs": "gpus",
    "commit": "git.commit",
    "difference from the commit": "git.diff_sha256",
    "number of untracked files": "git.untracked_count",
}
"""What is compared, in words → its place in `environment.json`."""


@dataclass(frozen=True)
class Again:
    """A run that can be started once more."""

    old: RunDir
    config: TrainingConfig
    """The old one under a new name."""
    spec: Spec
    parts: dict[str, str]
    python: str
    same: tuple[str, ...]
    differences: tuple[str, ...]
    """What surrounds the training and is not as it was."""
    stranger: str
    """Why the old one is not this installation's; empty when it is."""

    @property
    def name(self) -> str:
        return self.config.run_name

    @property
    def words(self) -> str:
        """What a person is asked; a run folder from elsewhere may hold any command, so it is shown."""
        lines = [f"Start {self.name}, the same as {self.old.name}?", *_what(self.config)]
        lines += [f"It was not made by this installation: {self.stranger}."] if self.stranger else []
        lines += [f"Same: {', '.join(self.same)}.", *(f"Differs: {line}" for line in self.differences)]
        return "\n".join([*lines, f"Digest {self.digest[:12]}."])

    @property
    def digest(self) -> str:
        return digest.digest(self.parts)


def prepare(project: Path, name: str | None) -> Again:
    """Compares the run with the present. RunError when model file or data changed: it cannot be the same then."""
    run = runs.find_run(project, name)
    spec = read_spec(run)
    trust.require_remote_code(project, spec.config.model_path, spec.config.extra)
    unchanged.require(project, run, spec, "reproduced")
    config = _renamed(project, spec.config, run.name)
    python = find_python(project).path
    parts = digest.parts(project, config, python)
    differences, same = _compare(_recorded(run), _present(project, python))
    return Again(
        run,
        config,
        spec,
        parts,
        python,
        ("configuration", "model file", "data", *same),
        differences,
        seal.stranger(run),
    )


def start(project: Path, again: Again, by: str) -> RunView:
    """Makes and starts the new run, all of it checked once more under the project's lock. RunError, GateError."""
    if by == ASSISTANT and approval.person_required(project):
        raise approval.person_needed(project)
    preflight.require(project, bool(decisions.smoke(decisions.read(again.old.checklist, []))))
    with locked(project):
        if digest.parts(project, again.config, again.python) != again.parts:
            raise RunError("the model file or the data changed while they were looked at.", "Run the command again.")
        spec = replace(
            again.spec,
            config=again.config,
            facts=replace(again.spec.facts, entry_sha256=again.parts["model file"]),
            project_dir=str(project),
            run_dir=str(project / RUNS / again.name),
            checkpoint_dir=str(inside(project, again.config.checkpoint_dir, "checkpoint_dir")),
            digest=again.digest,
        )
        text = configfile.render(again.config, {"run_name": f"the same as {again.old.name}"})
        run = runs.create_run(spec, text, _checklist(again, by), seal.seal_run)
        return runs.start_attempt(run, again.python)


def _what(config: TrainingConfig) -> list[str]:
    """What would run."""
    if config.framework == SCRIPT:
        return [f"Runs as it is: {plain(shlex.join(commandline.words(config)), 600)}"]
    extra = [f"Extra: {plain(codec.dumps(config.extra), 300)}"] if config.extra else []
    data = plain(config.train_data, 200)
    return [f"Trains {plain(config.model_path, 200)} ({config.framework}) on {data}.", *extra]


def _renamed(project: Path, config: TrainingConfig, old: str) -> TrainingConfig:
    stem = old[:MAX_NAME].partition("-again-")[0]
    names = (f"{stem}-again-{number:03d}" for number in range(1, 1000))
    name = next(
        (n for n in names if not (project / RUNS / n).exists() and not (project / "checkpoints" / n).exists()), ""
    )
    if not name:
        raise RunError(f"there are 999 repetitions of {stem} already.", "Move some of them away.")
    return replace(config, run_name=name, checkpoint_dir=f"./checkpoints/{name}")


def _checklist(again: Again, by: str) -> dict[str, Any]:
    """The old run's gates, its approval replaced by the new one."""
    gates = {name: gate for name, gate in decisions.read(again.old.checklist, []).items() if name != "approval"}
    evidence = gates.get("configuration", {}).get("evidence")
    if isinstance(evidence, dict):
        evidence.update(digest=again.digest, parts=again.parts)
    words = "declared by the assistant" if by == ASSISTANT else f"given by a {by}"
    yes = Gate("approval", "passed", words, by, time.time(), {"digest": again.digest})
    return {
        "format": FORMAT,
        "plan": "",
        "digest": again.digest,
        "gates": [*gates.values(), asdict(yes)],
        "findings": [],
        "reproduces": again.old.name,
    }


def _recorded(run: RunDir) -> dict[str, Any]:
    """The record of the first attempt; empty when there is none that can be read."""
    try:
        found = codec.parsed(rundir.read(run.attempt(1).environment), "environment.json")
    except (OSError, FormatError):
        return {}
    return found if isinstance(found, dict) else {}


def _present(project: Path, python: str) -> dict[str, Any]:
    """The same from the Python that would train now."""
    with tempfile.TemporaryDirectory(prefix="stationmaster-") as folder:
        said = Path(folder, "environment.json")
        ended = children.run([python, str(ASKING), str(project), str(said)], cwd=project, timeout=SECONDS)
        try:
            found = codec.parsed(rundir.read(said), "environment.json")
        except (OSError, FormatError):
            why = clean(ended.output, 600) or "it gave no answer"
            raise RunError(f"{python} cannot say what it has: {why}") from None
    return dict(found)


def _compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What differs, one line each, and the names of what is the same."""
    if not before:
        return ("the old run left no readable record of what surrounded it",), ()
    differences, same = [], []
    for words, place in _COMPARED.items():
        old, new = _at(before, place), _at(now, place)
        if old is None and new is None:  # no repository then and none now: nothing is known to be the same
            continue
        if old == new:
            same.append(words)
        else:
            differences.append(f"{words}: {_short(old)} then, {_short(new)} now")
    old, new = _hashes(before), _hashes(now)
    if files := [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]:
        more = f" and {len(files) - 5} more" if len(files) > 5 else ""
        differences.append(f"untracked files: {', '.join(plain(name, 60) for name in files[:5])}{more}")
    elif new:
        same.append("untracked files")
    old, new = _table(before.get("distributions")), _table(now.get("distributions"))
    changed = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    if not changed:
        same.append(f"{len(new)} packages")
    differences += [
        f"{plain(name, 60)}: {_short(old.get(name))} then, {_short(new.get(name))} now" for name in changed[:20]
    ]
    if len(changed) > 20:
        differences.append(f"and {len(changed) - 20} more packages")
    return tuple(differences), tuple(same)


def _at(facts: Mapping[str, Any], place: str) -> Any:
    value: Any = facts
    for part in place.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _hashes(facts: Mapping[str, Any]) -> dict[str, str]:
    """Untracked file → its hash, as far as they were recorded."""
    listed = _at(facts, "git.untracked")
    entries = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return {str(one.get("path")): str(one.get("sha256")) for one in entries}


def _table(value: Any) -> dict[str, str]:
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, dict) else {}


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} of them"
    return plain("none" if value in (None, "") else str(value), 60)

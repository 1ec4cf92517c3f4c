"""Answers the server's questions inside the user's own Python: its packages, the data, the split, the model.

One request, one answer, both JSON files. What the user's code prints goes to the error stream. Not covered: user code
that ends the process hard (`os._exit`, a crash); then there is no answer, which the server sees.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import codec, entry, failure, plugins, rundir, user_model
from .contract import TrainingConfig
from .errors import PluginError, StationmasterError
from .facts import Answer, EnvironmentFacts, FileFacts, Request, SplitFacts
from .packages import missing

PACKAGES = (
    "torch", "numpy", "pandas", "pyarrow", "pillow", "safetensors", "transformers", "accelerate", "peft", "datasets",
    "jax", "flax", "optax", "orbax-checkpoint", "tensorboard", "wandb",
)  # fmt: skip
"""Packages that are looked for when the request names none."""
PREFLIGHTS = ("smoke", "batch_size", "learning_rate", "rehearsal")
"""Requests that run pieces of the training."""
OWN_SPLIT = ("transformers",)
"""Frameworks that divide data in a way of their own: a model's tokenizer has its part in it."""
NEEDED = ("numpy", "pandas", "pyarrow", "PIL", "torch", "transformers", "jax", "flax", "optax", "orbax", "safetensors")
"""Modules whose absence is a missing package, not a mistake in the user's code."""


def main(request_path: str, answer_path: str) -> int:
    """Reads the request, writes the answer (replaced as a whole). Exit code 0 whenever there is an answer."""
    sys.stdout.flush()
    os.dup2(2, 1)
    started = time.monotonic()
    request = codec.loads(Request, Path(request_path).read_bytes(), request_path)
    found = answer(request, Path(request_path).with_suffix(".work"))
    found = replace(found, seconds=time.monotonic() - started)
    rundir.replace(Path(answer_path), codec.dumps(found).encode("utf-8", "replace"))
    return 0


def answer(request: Request, work: Path | None = None) -> Answer:
    """The facts asked for, or the error as an answer; never raises but for an interrupt.

    work: where a preflight may make its folder; None: a temporary one.
    """
    project = Path(request.project_dir)
    try:
        if request.what == "environment":
            return Answer(environment=environment(request.packages or PACKAGES))
        if request.what == "data":
            return Answer(data=_data(request.files, project))
        if request.what == "rows":
            return Answer(rows=_rows(request.config, project))
        if request.what == "split":
            return Answer(split=_split(request.config, project))
        if request.what in PREFLIGHTS:
            return _preflight(request, work)
        return Answer(model=_adapter(request.config).measure(request.config, project))
    except (Exception, SystemExit) as error:
        return error_answer(error, project)


def _preflight(request: Request, work: Path | None) -> Answer:
    """Pieces of the real run, in processes of their own; `rehearsal` is one of those processes."""
    from .preflight import batchsize, rates, script, smoke

    if request.what == "rehearsal":
        from .preflight import rehearsal  # needs numpy

        return Answer(rehearsal=rehearsal.play(request))
    if request.what == "batch_size":
        return Answer(batch_size=batchsize.batch_size(request, work))
    if request.what == "learning_rate":
        return Answer(learning_rate=rates.learning_rate(request, work))
    if request.config.get("framework") == "script":
        config = codec.from_plain(TrainingConfig, request.config, "the configuration")
        return Answer(smoke=script.look(config, Path(request.project_dir)))
    return Answer(smoke=smoke.smoke(request, work))


def environment(packages: tuple[str, ...]) -> EnvironmentFacts:
    """This interpreter and the installed versions of `packages`, none of them imported."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    gone = tuple(name for name in packages if name not in found)
    return EnvironmentFacts(sys.executable, platform.python_version(), found, gone)


def _data(files: tuple[str, ...], project: Path) -> tuple[FileFacts, ...]:
    """One answer per file: what is wrong with one of them, foreseen or not, hides no other."""
    from . import filefacts

    found, lacking = [], None
    for path in files:
        try:
            found.append(filefacts.look_at(path, project))
        except Exception as error:
            ours = isinstance(error, StationmasterError)
            lacking = lacking or (error if isinstance(error, PluginError) else None)
            said = str(error) if ours else f"{path} cannot be used: {user_model.describe(error)}"
            found.append(FileFacts(path, "", 0, 0, problem=said))
    if lacking is not None and all(facts.problem for facts in found):
        raise lacking
    return tuple(found)


def _rows(config: dict[str, Any], project: Path) -> tuple[str, ...]:
    from . import rowtext
    from .datasettings import SPLIT

    train, val = str(config["train_data"]), str(config["val_data"])
    names = {"train": train, "val": train if val == SPLIT else val}
    return rowtext.of(project, names, [(str(part), int(row)) for part, row in config["rows"]])


def _split(config: dict[str, Any], project: Path) -> SplitFacts:
    from . import data, findings
    from .datasettings import BUILD_DATA

    if config.get("framework") in OWN_SPLIT:
        found: SplitFacts = _adapter(config).split(config, project)
        return found
    if config.get("train_data") != BUILD_DATA:
        return findings.split_facts(data.load(config, project))
    load_data = getattr(_adapter(config), "load_data", None)  # seeds its framework first, as the run does
    if load_data is not None:
        return findings.split_facts(load_data(config, project))
    module = user_model.load(entry.resolve(str(config.get("model_path", "")), project), project)
    return findings.split_facts(data.load(config, project, user_model.hook(module, "build_data")))


def _adapter(config: dict[str, Any]) -> Any:
    return plugins.find("adapters", str(config.get("framework") or "pytorch"))


def error_answer(error: BaseException, project: Path) -> Answer:
    """An error of ours as it is; one of the user's code as ModelError with its place; any other as Bug."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in NEEDED:
        error = missing(error.name or "", "measuring")
    if isinstance(error, StationmasterError):
        cause = error.__cause__
        return Answer(
            error=type(error).__name__,
            message=error.message,
            way_out=error.way_out,
            where=failure.where(cause, project) if cause is not None else "",
            traceback=failure.trimmed(cause, project) if cause is not None else "",
        )
    if isinstance(error, MemoryError):
        return Answer(error="DataError", message="the memory of this machine ran out.", way_out="Use less data.")
    users = any(user_model.is_user_file(frame.f_code.co_filename, project) for frame in _frames(error))
    return Answer(
        error="ModelError" if users else "Bug",
        message=f"{user_model.describe(error)}",
        way_out="Correct the code at the place named." if users else "",
        where=failure.where(error, project),
        traceback=failure.trimmed(error, project),
    )


def _frames(error: BaseException) -> list[Any]:
    found, link = [], error.__traceback__
    while link is not None:
        found.append(link.tb_frame)
        link = link.tb_next
    return found

"""Which variables a run gets: an allow-list for the worker, secret ones by name only, and what only loggers need."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from .children import environment

_WORKER_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN")
_MORE = re.compile(
    r"HF_|HUGGINGFACE_|XDG_|(?:https?|ftp|all|no)_proxy$|NCCL_|GLOO_|MPLCONFIGDIR$|MPLBACKEND$|REQUESTS_CA_BUNDLE$|"
    r"KERAS_|TF_|TFDS_|TOKENIZERS_PARALLELISM$|ACCELERATE_",
    re.I,
)
_RECORDER = re.compile(r"WANDB_|TRACKIO_|NETRC$")
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|KEY|AUTH|PRIVATE", re.I)
_SECRET_VALUE = re.compile(r"://[^/\s]*@")
"""A URL with a user or password in it, as in a proxy setting."""


@dataclass(frozen=True)
class RunEnvironment:
    """The variables of one attempt."""

    written: dict[str, str]
    """The worker's, with values; stand in launch.json."""
    named: tuple[str, ...]
    """The worker's that may be secret: launch.json has the names, the supervisor's own environment the values."""
    supervisor: dict[str, str]
    """Everything above with values, and what only loggers need."""


def run_environment(more: Mapping[str, str] | None = None, source: Mapping[str, str] | None = None) -> RunEnvironment:
    """From the server's environment (or `source`) and `more`, which the caller names on purpose."""
    source = os.environ if source is None else source
    allowed = {name: value for name, value in source.items() if _MORE.match(name) or name in _WORKER_SECRETS}
    worker = {
        **environment(source),
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        **allowed,
        **(more or {}),
    }
    named = tuple(sorted(name for name, value in worker.items() if _secret(name, value)))
    written = {name: value for name, value in worker.items() if name not in named}
    loggers = {name: value for name, value in source.items() if _RECORDER.match(name)}
    return RunEnvironment(written, named, {**loggers, **worker})


def _secret(name: str, value: str) -> bool:
    return bool(_SECRET_NAME.search(name) or _SECRET_VALUE.search(value))

"""Loads what belongs to a model beside its weights: configuration, tokenizer, image processor; with errors that say
what to do when it is not here, when there is no network, or when it wants to run its own code.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import pretrained
from ..errors import ModelError, PluginError, StationmasterError
from ..packages import missing
from ..pretrained import Pretrained
from . import _hf_gguf

_OFFLINE = re.compile(r"offline|couldn't connect|could not connect|connection error|resolve|max retries", re.IGNORECASE)
_MISSING = re.compile(r"install(?:ed)? (?:the )?[`'\"]?([a-z][\w-]+)|No module named '([\w.]+)'")


@dataclass(frozen=True)
class Source:
    """A model that can be loaded."""

    named: Pretrained
    place: str
    """What `from_pretrained` takes."""
    options: dict[str, Any]
    """`revision` and `trust_remote_code` for every `from_pretrained`."""
    tokenizer_place: str

    @property
    def local(self) -> bool:
        """Whether it lies in the project: the network has no part in its errors."""
        return self.named.path is not None

    @property
    def has_weights(self) -> bool:
        """False for a folder that holds a configuration alone: such a model starts from random weights."""
        if self.named.kind != "folder":
            return True
        return any(any(Path(self.place).glob(pattern)) for pattern in ("*.safetensors*", "pytorch_model*.bin*"))

    def config(self) -> Any:
        """The model's configuration."""
        from transformers import AutoConfig

        with explained(self.named.name, self.local):
            return AutoConfig.from_pretrained(self.place, **self.options)  # nosec B615 # the revision is in the options

    def tokenizer(self) -> Any:
        """The tokenizer, ModelError when there is none."""
        from transformers import AutoTokenizer

        with explained(f"the tokenizer of {self.named.name}", os.path.isdir(self.tokenizer_place)):
            found = AutoTokenizer.from_pretrained(self.tokenizer_place, **self.options)  # nosec B615 # the revision is in the options
        if not len(found):
            raise _no_tokenizer(self)
        return found

    def image_processor(self, config: Any) -> Any:
        """The model's own, or one from its configuration: resized to its image size, scaled to [-1, 1]."""
        import transformers

        if (Path(self.place) / "preprocessor_config.json").is_file() or self.named.kind == "hub":
            with explained(f"the image processor of {self.named.name}", self.local):
                return transformers.AutoImageProcessor.from_pretrained(self.place, **self.options)  # nosec B615 # the revision is in the options
        size = getattr(config, "image_size", None) or 224
        height, width = size if isinstance(size, (list, tuple)) else (size, size)
        channels = int(getattr(config, "num_channels", 3))
        kind = getattr(transformers, "ViTImageProcessorPil", None) or transformers.ViTImageProcessor
        half = [0.5] * channels
        return kind(size={"height": height, "width": width}, image_mean=half, image_std=half)


def find(config: Mapping[str, Any], project_dir: Path) -> Source:
    """The model that a configuration names. Raises ModelError."""
    extra = config.get("extra") or {}
    named = pretrained.resolve(str(config.get("model_path") or ""), project_dir)
    place = str(_hf_gguf.exported(named.path)) if named.kind == "gguf" and named.path else named.place
    other = extra.get("tokenizer")
    tokenizer_place = pretrained.resolve(str(other), project_dir, pretrained.TOKENIZER).place if other else place
    options = {"trust_remote_code": bool(extra.get("trust_remote_code", False))}
    if extra.get("revision"):
        options["revision"] = extra["revision"]
    return Source(named, place, options, tokenizer_place)


@contextmanager
def explained(what: str, local: bool) -> Iterator[None]:
    """Errors of `from_pretrained` in words that a person can act on. `local`: the network has no part in them."""
    try:
        yield
    except StationmasterError:
        raise
    except ImportError as error:
        found = _MISSING.search(str(error))
        raise missing((found[1] or found[2]) if found else error.name or "transformers", f"loading {what}") from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("builtins", "transformers", "huggingface_hub", *_LIBRARIES):
            raise
        raise _explained(what, error, local) from error


_LIBRARIES = ("safetensors", "safetensors_rust", "tokenizers", "requests", "httpx", "urllib3", "json")


def _explained(what: str, error: Exception, local: bool) -> ModelError | PluginError:
    said = " ".join(str(error).split())
    chain = f"{said} {error.__cause__ or error.__context__ or ''}"
    if "trust_remote_code" in said:
        return ModelError(
            f"{what} brings code of its own, which would run on this machine.",
            "Read that code; if the person agrees, set extra.trust_remote_code: true.",
        )
    if not local and ("gated" in said.lower() or "401" in said or "403" in said):
        return ModelError(
            f"{what} is gated: the hub wants an accepted licence and a token.",
            "Accept it on the model's page, then set HF_TOKEN or run `hf auth login` where the training runs.",
        )
    if not local and isinstance(error, OSError) and (_OFFLINE.search(chain) or os.environ.get("HF_HUB_OFFLINE")):
        offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
        why = "HF_HUB_OFFLINE is set" if offline else "the hub cannot be reached"
        return ModelError(
            f"{what} is not on this machine, and {why}.",
            f"{'Unset HF_HUB_OFFLINE' if offline else 'Connect to the network'}, or download it elsewhere (`hf download"
            " NAME --local-dir models/NAME`) and name that folder inside the project.",
        )
    return ModelError(f"{what} cannot be loaded: {said[:600]}", "Check the name or the files of the folder.")


def _no_tokenizer(source: Source) -> ModelError:
    return ModelError(
        f"{source.named.name} has no tokenizer.", "Save one into its folder, or name another: extra.tokenizer."
    )

"""Builds the model: the head that the data need, weights from the hub, a folder, a GGUF file or none, dropout, LoRA."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, ModelError
from ..facts import Finding
from . import _hf_lora, _torch_build, _torch_device
from ._hf_columns import CAUSAL, IMAGE, SEQUENCE, TOKEN
from ._hf_data import Material
from ._hf_lora import Lora
from ._hf_source import Source, explained
from ._hf_tokens import pad_token
from ._torch_state import Form

AUTO = {
    CAUSAL: "AutoModelForCausalLM",
    SEQUENCE: "AutoModelForSequenceClassification",
    TOKEN: "AutoModelForTokenClassification",
    IMAGE: "AutoModelForImageClassification",
}
FOREIGN = 0.2
"""Share of the model's tensors that a checkpoint lacks from which it counts as one of another model."""
_DROPOUTS = ("dropout", "pdrop", "drop_rate")
_VOLATILE = (
    "transformers_version",
    "dtype",
    "torch_dtype",
    "_name_or_path",
    "use_cache",
    "architectures",
    "_attn_implementation",
    "problem_type",  # the library fills it in at the first forward pass with labels
)


@dataclass(frozen=True, eq=False)
class Built:
    """A model and what belongs to it."""

    model: Any
    name: str
    """Class of the model, as shown."""
    kind: str
    regime: str
    """`scratch`, `continued` (all tokens of texts), `sft` (answers alone), `fine-tune` (a new head), or `lora`."""
    lora: Lora | None
    dropouts: int
    """Places where it drops out."""
    findings: tuple[Finding, ...] = ()
    trust_remote_code: bool = False

    @property
    def form(self) -> Form:
        """How its checkpoints look: a `save_pretrained` folder, or the adapter alone."""
        model, kind, trust = self.model, self.kind, self.trust_remote_code
        if self.lora is not None:
            return Form(
                lambda: _hf_lora.weights(model),
                lambda folder, copies, ties: _hf_lora.write(model, folder, copies),
                lambda folder: _hf_lora.read(model, folder),
            )
        return Form(
            model.state_dict, lambda *parts: _save(model, *parts), lambda folder: _read(model, kind, folder, trust)
        )


def fitted(source: Source, model: Any, material: Material, dropout: float | None) -> Any:
    """The model's configuration with the head, padding and dropout of this run. Raises ModelError."""
    roles, data = material.roles, material.data
    if roles.kind == CAUSAL:
        _refuse_encoder(model, source.named.name)
    else:
        names = data.classes or ("value",)
        model.num_labels = len(names)
        model.id2label = dict(enumerate(names))
        model.label2id = {name: at for at, name in enumerate(names)}
        if roles.kind == SEQUENCE:
            model.problem_type = None if data.classes else "regression"
    if roles.kind != IMAGE:
        if getattr(model, "pad_token_id", None) is None:
            model.pad_token_id = pad_token(material.processor)
        _refuse_tokenizer(source, model, material.processor)
    if dropout is not None:
        for key in dropout_keys(model):
            setattr(model, key, float(dropout))
    return model


def dropout_keys(model: Any) -> list[str]:
    """Attributes of a configuration that hold a dropout probability; layer drop and stochastic depth left alone."""
    return [
        key
        for key, value in vars(model).items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and key.endswith(_DROPOUTS)
    ] + [key for key, value in vars(model).items() if key.endswith("_prob") and "dropout" in key and value is not None]


def parameter_count(source: Source, model: Any, kind: str) -> int:
    """Parameters of the model, without making it."""
    with torch.device("meta"), explained(source.named.name, source.local):
        made = _auto(kind).from_config(model, trust_remote_code=source.options["trust_remote_code"])
    return sum(parameter.numel() for parameter in made.parameters())


def build(
    source: Source,
    model: Any,
    material: Material,
    config: Mapping[str, Any],
    lora: Lora | None,
    frozen: torch.dtype = torch.float32,
) -> Built:
    """The model from the seed. `model` is its fitted configuration. Raises ModelError.

    `frozen`: number format of the weights that LoRA leaves alone.
    """
    kind = material.roles.kind
    _torch_device.seed_everything(int(config.get("seed") or 42))
    logging.getLogger("transformers.modeling_utils").setLevel(logging.ERROR)  # what it warns of is a finding below
    findings: list[Finding] = []
    if source.has_weights:
        made = _pretrained(source, model, kind, frozen if lora else torch.float32, findings)
    else:
        with explained(source.named.name, source.local):
            made = _auto(kind).from_config(model, trust_remote_code=source.options["trust_remote_code"])
        made = made.to(torch.float32)
    name, layers = type(made).__name__, _torch_build.dropout_layers(made)
    if config.get("dropout") is not None:
        for module, attribute in layers:
            setattr(module, attribute, float(config["dropout"]))
    if lora is not None:
        made = _hf_lora.apply(made, lora, kind)
    places = len(layers) or len(dropout_keys(model))
    return Built(
        made,
        name,
        kind,
        regime(source, material, lora),
        lora,
        places,
        tuple(findings),
        bool(source.options["trust_remote_code"]),
    )


def regime(source: Source, material: Material, lora: Lora | None) -> str:
    """What kind of training it is, for the table of defaults."""
    if lora is not None:
        return "lora"
    if not source.has_weights:
        return "scratch"
    if material.roles.kind != CAUSAL:
        return "fine-tune"
    return "continued" if material.roles.form == "text" else "sft"


def _auto(kind: str) -> Any:
    import transformers

    return getattr(transformers, AUTO[kind])


def _pretrained(source: Source, model: Any, kind: str, dtype: torch.dtype, findings: list[Finding]) -> Any:
    """Weights that fit are loaded, a missing head is new; a checkpoint of another model is refused."""
    with explained(source.named.name, source.local):
        made, info = _auto(kind).from_pretrained(
            source.place,
            config=model,
            dtype=dtype,
            ignore_mismatched_sizes=kind != CAUSAL,
            output_loading_info=True,
            **source.options,
        )
    missing = sorted(info["missing_keys"])
    replaced = sorted(str(key[0] if isinstance(key, tuple) else key) for key in info["mismatched_keys"])
    body = [key for key in replaced if key.startswith(f"{made.base_model_prefix}.")]
    if body:
        raise ModelError(
            f"the weights of {source.named.name} are of another model: {len(body)} tensors of {type(made).__name__} "
            f"have another shape, for example {body[0]}.",
            "The config.json does not belong to these weights: take both from one place.",
        )
    total = len(made.state_dict())
    if len(missing) > FOREIGN * total:
        raise ModelError(
            f"the weights of {source.named.name} are of another model: {len(missing)} of {total} tensors of "
            f"{type(made).__name__} are missing, for example {missing[0]}.",
            "The config.json does not belong to these weights: take both from one place.",
        )
    if missing or replaced:
        message = f"new weights, not from {source.named.name}: {', '.join((missing + replaced)[:6])}."
        advice = "A new head is usual for a new task." if kind != CAUSAL else "Generation starts untrained there."
        level: Any = "info" if kind != CAUSAL else "warning"
        findings.append(Finding("head", level, message, advice, {"new": (missing + replaced)[:20]}))
    return made


def _read(model: Any, kind: str, folder: Path, trust: bool) -> None:
    """Fills the model from a verified checkpoint. CheckpointError when that is of another one."""
    from transformers import AutoConfig

    try:
        saved = AutoConfig.from_pretrained(folder, trust_remote_code=trust)  # nosec B615 # our own checkpoint
        _same(
            json.loads(saved.to_json_string(use_diff=False)),
            json.loads(model.config.to_json_string(use_diff=False)),
            folder,
        )
        other, info = _auto(kind).from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, trust_remote_code=trust
        )
        odd = sorted(info["missing_keys"]) or sorted(info["unexpected_keys"])
        if odd:
            raise CheckpointError(f"{folder} is of another model: {odd[0]} stands in one of them only.", _OTHER)
        model.load_state_dict(other.state_dict())
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder} cannot be read as a model: {' '.join(str(error).split())[:400]}") from error


_OTHER = "Restore the model as it was, or start a new run."


def _same(saved: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    for key in sorted({*saved, *wanted}):
        theirs, ours = saved.get(key), wanted.get(key)
        if key not in _VOLATILE and theirs != ours:
            raise CheckpointError(
                f"{folder} is of another model: {key} is {theirs} in the checkpoint, {ours} in the model.", _OTHER
            )


def _save(model: Any, folder: Path, copies: dict[str, Any], ties: dict[str, str]) -> None:
    """A folder for `from_pretrained`. Tied tensors are named twice and share one memory, as the writer wants it."""
    whole = {**copies, **{name: copies[first] for name, first in ties.items()}}
    model.save_pretrained(folder, state_dict=whole)


def _refuse_encoder(model: Any, name: str) -> None:
    """A model that reads both ways cannot continue a text, although a class for it exists."""
    from transformers.models.auto import modeling_auto

    both_ways = model.model_type in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if both_ways and not getattr(model, "is_decoder", False):
        raise ModelError(
            f"{name} is a {model.model_type} model, which reads texts in both directions: it cannot continue one.",
            "Take a causal model (Llama, Qwen, GPT-2, SmolLM, …), or give texts with labels for classification.",
        )


def _refuse_tokenizer(source: Source, model: Any, tokenizer: Any) -> None:
    vocabulary = getattr(model, "vocab_size", None)
    if isinstance(vocabulary, int) and len(tokenizer) > vocabulary:
        raise ModelError(
            f"the tokenizer has {len(tokenizer):,} tokens, {source.named.name} knows {vocabulary:,}.",
            "They belong to different models: name the right one in extra.tokenizer.",
        )

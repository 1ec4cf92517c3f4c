"""Builds a model of Transformers on the real data and feeds it, before anything is started.

Forward, loss and backward of the longest rows and of a usual batch, an optimizer step with rate 0, a validation batch,
and for smaller models a checkpoint written and read back. Batches are small: what a large one costs is computed.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import order, pretrained, trial
from ..errors import ModelError
from ..facts import Finding, ModelFacts
from ..feed import Batch
from . import _hf_arguments, _hf_data, _hf_lora, _hf_memory, _hf_model, _hf_source, _torch_device, transformers
from ._hf_columns import CAUSAL
from ._hf_data import Material
from ._hf_lora import Lora
from ._hf_model import Built
from ._hf_sequences import Sequences

ROWS = 256
"""Rows of each part that are tokenised for the look."""
WORK = {"cpu": 3e11, "cuda": 3e14}
"""Floating-point operations that one trial batch may take: about six per parameter and token (Kaplan et al. 2020)."""


def measure(config: Mapping[str, Any], project_dir: Path) -> ModelFacts:
    """Raises ModelError, DataError, ConfigError or PluginError for whatever would end the run at its first steps."""
    extra = config.get("extra") or {}
    _hf_arguments.check(extra)
    if config.get("num_threads"):
        torch.set_num_threads(int(config["num_threads"]))
    device = _torch_device.choose(config.get("device") or "auto")
    free = _torch_device.free_memory(device)
    source = _hf_source.find(config, project_dir)
    material = _hf_data.load(config, project_dir, source, model := source.config(), most=ROWS)
    kind = material.roles.kind
    model = _hf_model.fitted(source, model, material, config.get("dropout"))
    count = _hf_model.parameter_count(source, model, kind)
    lora, decided, found = _lora(extra, count, free, device.type)
    built = _hf_model.build(source, model, material, config, lora)
    found += built.findings
    seen = _Trial(config, project_dir, built, material, model, device)
    parameters = list(built.model.parameters())
    learning = sum(p.numel() for p in parameters if p.requires_grad)
    state = _hf_memory.state_bytes(learning, max(0, sum(p.numel() for p in parameters) - learning), device.type)
    return ModelFacts(
        model_name=source.named.name.rstrip("/").rpartition("/")[2].removesuffix(".gguf"),
        model_args={"class": built.name},
        parameters=count,
        trainable_parameters=learning,
        device=_torch_device.describe(device),
        precisions=_torch_device.precisions(device),
        initial_loss=seen.initial_loss,
        expected_loss=seen.objective.expected_initial_loss,
        output_shape=seen.output_shape,
        parameter_bytes=sum(p.numel() * p.element_size() for p in parameters),
        free_memory_bytes=free,
        seconds_per_batch=seen.seconds,
        batch_that_fits=_hf_memory.batch_that_fits(seen.sample_bytes, state, free),
        state_bytes=state,
        sample_bytes=seen.sample_bytes,
        regime=built.regime,
        decided=decided,
        dropout_layers=built.dropouts,
        entry_sha256=pretrained.sha256(source.named),
        findings=(*found, *seen.findings),
    )


def _lora(
    extra: Mapping[str, Any], count: int, free: int | None, device: str
) -> tuple[Lora | None, dict[str, Any], list[Finding]]:
    """The adapter that was asked for, or that is proposed with the reason, as options of `extra`."""
    lora = _hf_lora.settings(extra)
    if lora is not None or "lora" in extra:
        return lora, {}, []
    why = _hf_lora.proposed(count, free, device)
    if not why:
        return None, {}, []
    lora = Lora()
    message = f"LoRA (rank {lora.r}, alpha {lora.alpha}, all linear layers): {why}."
    advice = "For a full fine-tuning set extra.lora to false, on a larger device."
    return lora, lora.plain(), [Finding("lora", "warning", message, advice, lora.plain())]


class _Trial:
    """Everything that a run does, once."""

    def __init__(
        self,
        config: Mapping[str, Any],
        project: Path,
        built: Built,
        material: Material,
        model: Any,
        device: torch.device,
    ) -> None:
        self.objective = transformers.objective_of(built, material)
        self.findings: list[Finding] = []
        self._data, self._material, self._built = material.data, material, built
        wanted = max(1, min(int(config.get("batch_size") or 8), len(material.data.train)))
        tokens = _hf_memory.tokens_per_sample(model, built.kind, material.data.input_shape[0])
        work = 6.0 * sum(p.numel() for p in built.model.parameters()) * tokens
        self._size = int(max(1, min(wanted, WORK.get(device.type, 3e11) // work)))
        complete = replace(trial.complete(config, len(material.data.train)), batch_size=self._size)
        built.model.to(device)
        self._trainee = transformers.trainee_of(complete, project, device, material, built, self.objective)
        self._seed = complete.seed
        first = self._batch(_longest(material, self._size))
        with _hf_memory.Activations(built.model) as kept:
            self.initial_loss = float(self._trainee.backward((first,)))
        share = _hf_memory.HALF if device.type == "cuda" else 1.0
        spared = _hf_memory.spared(config.get("extra") or {})
        self.sample_bytes = None if spared else int(kept.bytes / self._size * share)
        self._look_at_gradients()
        usual = self._batch(order.batch_indices(self._seed, 0, self._size, len(self._data.train)))
        begun = time.perf_counter()
        self._trainee.step((usual,), 0.0)
        self._trainee.drain()
        self.seconds = (time.perf_counter() - begun) * wanted / self._size
        self.output_shape = self._validation_batch(usual)
        self._checkpoint()
        self._look_at_loss()

    def _batch(self, indices: np.ndarray) -> Batch:
        return self._trainee.convert(*self._data.train.batch(indices), len(indices))

    def _validation_batch(self, batch: Batch) -> tuple[int, ...]:
        val = self._data.val
        if val is not None:
            indices = np.arange(min(self._size, len(val)))
            batch = self._trainee.convert(*val.batch(indices), len(indices))
        model = self._built.model
        with torch.no_grad():
            tally = transformers.tally_of(self._material)
            scored = self.objective.score(model.eval(), batch.inputs, batch.targets)
            tally.add(scored, batch.targets, batch.samples)
            tally.result()
            model.train()
        return tuple(scored.output.shape) if scored.output is not None else ()

    def _checkpoint(self) -> None:
        if sum(p.numel() * p.element_size() for p in self._built.model.parameters()) > trial.MAX_CHECKPOINT_BYTES:
            return
        with tempfile.TemporaryDirectory() as folder:
            try:
                self._trainee.snapshot().write(Path(folder))
                self._trainee.restore(Path(folder))
            except (RuntimeError, TypeError, ValueError, AttributeError, OSError) as error:
                raise ModelError(f"a checkpoint of the model cannot be written and read back: {error}") from error

    def _look_at_gradients(self) -> None:
        named = self._built.model.named_parameters()
        names = [name for name, p in named if p.requires_grad and p.grad is None]
        if names:
            message = f"{len(names)} parameters get no gradient, for example {names[0]}."
            advice = "They stay as they are; of a pooler or an unused head that is usual."
            self.findings.append(Finding("gradients", "info", message, advice, {"without_gradient": names[:10]}))

    def _look_at_loss(self) -> None:
        loss, expected = self.initial_loss, self.objective.expected_initial_loss
        self.findings += trial.about_loss(loss, expected)
        most = math.log(max(2, self._data.outputs))
        if self._built.kind == CAUSAL and expected is None and math.isfinite(loss) and loss > 0.9 * most:
            message = (
                f"the first loss is {loss:.3g}, about that of a model that knows nothing ({most:.3g}): the weights and "
                "the tokenizer may not belong together."
            )
            advice = "Check model and tokenizer; known kinds of text start at 1 to 5."
            self.findings.append(Finding("initial_loss", "warning", message, advice, {"initial_loss": loss}))


def _longest(material: Material, size: int) -> np.ndarray:
    """Positions of the longest samples, which need the most memory."""
    samples = material.data.train
    if isinstance(samples, Sequences):
        return np.argsort(-samples.lengths, kind="stable")[:size]
    return np.arange(min(size, len(samples)))

"""What a proposal stands on: the subject, the split and the model, measured with the batch that will be proposed.

A batch that does not fit in memory is halved until it does; accumulation then keeps the effective batch.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from stationmaster_trainer.contract import TrainingConfig
from stationmaster_trainer.errors import ConfigError, StationmasterError
from stationmaster_trainer.facts import ModelFacts, SplitFacts

from . import extras, measured, validate
from .config import refused
from .digest import TRANSFORMERS
from .plan import Model, Plan, Validation
from .policy.choice import Known, choices
from .subject import Subject, subject

ENOUGH_SECONDS = 12.0
"""Time left from which another measurement is begun only to make a number more exact."""
_OUT_OF_MEMORY = re.compile(r"out of memory|OutOfMemory|memory of this machine ran out|Memory may have run out", re.I)


@dataclass(frozen=True)
class Ground:
    """Everything measured and everything that the person said."""

    subject: Subject
    validation: Validation | None
    split: SplitFacts
    model: ModelFacts
    given: dict[str, Any]
    """The person's changes by key."""
    batch: int
    """Batch that the model was measured with."""
    fits: int | None = None
    """Largest batch that fits in memory, where a larger one did not."""

    @property
    def known(self) -> Known:
        """The measurements as the policy sees them."""
        facts = _Facts(self.subject.framework, self.split, self.given)
        return facts.known(self.model.parameters, self.model, self.fits)


_DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(TrainingConfig)}


@dataclass(frozen=True)
class _Facts:
    framework: str
    split: SplitFacts
    given: Mapping[str, Any]

    def known(self, parameters: int, model: ModelFacts | None = None, fits: int | None = None) -> Known:
        split, language = self.split, self.split.task == "language_modeling"
        text = self.framework == TRANSFORMERS and len(split.sample_shape) == 1
        estimate = model.batch_that_fits if model else None
        return Known(
            framework=self.framework,
            task=split.task,
            input="text" if language or text else "images" if len(split.sample_shape) == 3 else "table",
            train_samples=split.train_samples,
            val_samples=split.val_samples,
            parameters=parameters,
            precisions=model.precisions if model else ("fp32",),
            device=model.device if model else "cpu",
            tokens_per_sample=int(self.given.get("sequence_length") or _DEFAULTS["sequence_length"]) if language else 1,
            batch_that_fits=min((one for one in (fits, estimate) if one is not None), default=None),
            regime=model.regime if model else "scratch",
        )

    def batch(self, parameters: int) -> int:
        """The batch that the policy would take."""
        wanted = {"optimizer": self.given["optimizer"]} if "optimizer" in self.given else {}
        return int(choices(self.known(parameters), wanted)["batch_size"].value)


def grounded(
    project: Path, plan: Plan, given: dict[str, Any], typed: Mapping[str, Any], started: float
) -> tuple[Plan, Ground]:
    """Split and model measured, or taken from the plan where nothing changed. `started`: monotonic, of the call."""
    if typed.get("val_data") is not None or typed.get("val_fraction") is not None:
        plan, found = validate.decide(project, plan, _decision(typed), given)
    else:
        found = subject(project, given)
    if plan.validation is not None:
        plan, _ = validate.again(found, replace(plan, changes=given))
    validation = plan.validation
    if validation is not None:
        wanted, split = validation.config, validation.facts
    else:
        wanted = validate.data_config(found, given, {"val_data": "split"})
        split = measured.split(found, wanted, None)
    extras.fits(given.get("extra") or {}, found.framework)
    _check_batch(given, split)
    asked = {key: given[key] for key in measured.MODEL_KEYS if key in given}
    asked |= {**wanted, "model_name": found.model_name, "task": split.task, "target": split.target}
    model = _model(_Facts(found.framework, split, given), found, asked, plan.model, started + measured.SECONDS)
    ground = Ground(found, validation, split, model.facts, given, model.batch, model.fits)
    return replace(plan, model=model), ground


def _decision(typed: Mapping[str, Any]) -> dict[str, Any]:
    val_data, fraction = typed.get("val_data"), typed.get("val_fraction")
    if val_data not in (None, "split") and fraction is not None:
        raise ConfigError(refused("val_fraction", fraction, f"only with val_data: split, not with {val_data!r}"))
    return {"val_data": val_data or "split", "val_fraction": fraction or validate.SPLIT}


def _check_batch(given: Mapping[str, Any], split: SplitFacts) -> None:
    batch = given.get("batch_size", 1)
    if not 1 <= batch <= split.train_samples:
        limit = f"a whole number from 1 to {split.train_samples:,} (the training samples)"
        raise ConfigError(refused("batch_size", batch, limit))


def _model(facts: _Facts, found: Subject, asked: dict[str, Any], before: Model | None, deadline: float) -> Model:
    """The model measured with the batch of the person or of the policy, halved while memory is too small for it."""
    if before is not None and before.fits and "batch_size" not in facts.given:
        key = measured.model_key(found, {**asked, "batch_size": before.fits})
        if before.key == key:
            return before
    batch = facts.given.get("batch_size") or facts.batch(before.facts.parameters if before is not None else 0)
    fits = None
    while True:
        left = deadline - time.monotonic()
        try:
            model = measured.model(found, {**asked, "batch_size": batch}, before, left)
        except StationmasterError as error:
            if batch == 1 or "batch_size" in facts.given or not _OUT_OF_MEMORY.search(str(error)):
                raise
            fits = batch = batch // 2
            continue
        model = replace(model, batch=batch, fits=fits)
        better = facts.batch(model.facts.parameters)
        if "batch_size" in facts.given or fits or better == batch or deadline - time.monotonic() < ENOUGH_SECONDS:
            return model
        batch = better

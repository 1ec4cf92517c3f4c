"""The options below the key `extra`: for every framework the thresholds of the rules and the size of images.

Those of one adapter stand in the trainer's `options.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stationmaster_trainer import options
from stationmaster_trainer.errors import ConfigError
from stationmaster_trainer.judge import all_rules, resolve
from stationmaster_trainer.options import Option


def _rules(settings: Any) -> bool:
    if not isinstance(settings, dict):
        return False
    resolve(all_rules(), settings)
    return True


OPTIONS: dict[str, Option] = {
    "rules": Option('an object of rule settings, such as {"loss_spike.ratio": 3}', _rules),
    "image_size": Option(
        "a whole number from 1 to 4,096 (pixels)",
        lambda size: isinstance(size, int) and not isinstance(size, bool) and 1 <= size <= 4096,
    ),
}
ADAPTERS: dict[str, Mapping[str, Option]] = {"transformers": options.TRANSFORMERS}
"""Framework → options that its adapter alone takes."""


def check(given: dict[str, Any]) -> bool:
    """True, or ConfigError that names the option, its value and what is allowed."""
    known = {**OPTIONS, **{name: option for adapter in ADAPTERS.values() for name, option in adapter.items()}}
    options.check(given, known)
    return True


def fits(given: Mapping[str, Any], framework: str) -> None:
    """ConfigError for an option of another framework's adapter."""
    for name in given:
        owners = [adapter for adapter, names in ADAPTERS.items() if name in names]
        if owners and framework not in owners:
            raise ConfigError(f"extra.{name} is for {owners[0]}, the framework is {framework}.", "Leave it out.")

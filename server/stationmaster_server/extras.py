"""The options below the key `extra`: for every framework the thresholds of the rules and the size of images.

Options of one adapter stand in `OPTIONS` too, with the frameworks that take them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stationmaster_trainer.errors import ConfigError
from stationmaster_trainer.judge import all_rules, resolve


@dataclass(frozen=True)
class Option:
    """One option: what is allowed in words, and a test that is false or raises ConfigError for anything else."""

    words: str
    test: Callable[[Any], bool]


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


def check(options: dict[str, Any]) -> bool:
    """True, or ConfigError that names the option, its value and what is allowed."""
    for name, value in options.items():
        if name not in OPTIONS:
            raise ConfigError(f"extra has no option {name!r}.", f"Known: {', '.join(OPTIONS)}.")
        if not OPTIONS[name].test(value):
            raise ConfigError(f"extra.{name} is {value!r:.60}, allowed: {OPTIONS[name].words}.")
    return True

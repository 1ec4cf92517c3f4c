"""Small YAML files that somebody else may have written: plain values only, bounded in size, without aliases or tags.

Aliases are refused because a few lines of them stand for gigabytes; nothing that people write by hand here needs them.
"""

from __future__ import annotations

import reprlib
from functools import cache
from pathlib import Path
from typing import Any

from stationmaster_trainer import rundir
from stationmaster_trainer.errors import ConfigError, FormatError

MAX_BYTES = 65_536
WAY_OUT = "Correct it or remove it."


def read(path: Path) -> dict[str, Any]:
    """The mapping in a file; empty for an empty one. Raises FileNotFoundError, ConfigError that names the file."""
    try:
        return parse(rundir.read(path, MAX_BYTES), str(path))
    except FileNotFoundError:
        raise
    except FormatError as error:
        raise ConfigError(f"{error.message}.", WAY_OUT) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.", "Check its permissions.") from None


def parse(text: bytes, source: str) -> dict[str, Any]:
    """The mapping in a text. ConfigError names the source and the line."""
    import yaml

    if len(text) > MAX_BYTES:
        raise ConfigError(f"{source} is larger than {MAX_BYTES} bytes.", WAY_OUT)
    try:
        value = yaml.load(text, Loader=_loader())  # nosec B506 # a SafeLoader without aliases
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark is not None else ""
        what = getattr(error, "problem", None) or type(error).__name__
        raise ConfigError(f"{source} is not readable YAML{place}: {str(what)[:120]}.", WAY_OUT) from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{source} holds {reprlib.repr(value)}, wanted keys with values.", WAY_OUT)
    return {str(key): item for key, item in value.items()}


@cache
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """The safe loader, aliases refused before anything is built from them."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                event: Any = self.peek_event()  # type: ignore[no-untyped-call]
                raise yaml.YAMLError(f"the alias *{event.anchor} is not allowed here")
            return super().compose_node(parent, index)

    return Loader

"""A primary configuration of Hydra put together from its groups, as far as its files say it; nothing is instantiated.

Not covered: search paths, interpolations, defaults whose option is an interpolation, overrides of another's defaults.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stationmaster_trainer import rundir
from stationmaster_trainer.errors import FormatError

from . import boundedyaml

MAX_PARTS = 30
MAX_BYTES = 200_000
"""Of all files together."""
MAX_DEPTH, MAX_DEEP = 4, 20
"""Groups within groups, and parts of a package."""
_PACKAGE = re.compile(r"\A\s*#\s*@package\s+(\S+)")
_GROUP = re.compile(r"(?:optional\s+)?(?P<root>/)?(?P<group>[\w./-]*?)(?:@(?P<package>[\w.]+))?")
_OPTION = re.compile(r"[\w./+=-]+")
Tree = dict[Any, Any]


@dataclass(frozen=True)
class _Place:
    """Where a file stands, and where what it says goes."""

    group: str
    """Folder below the primary configuration's."""
    package: str
    """Dotted place of its values in the whole."""
    named: bool = False
    """Whether the list of defaults names the package, which then counts before the file's own word."""


def composed(project: Path, path: str, values: Mapping[Any, Any]) -> Tree:
    """The values of the file at `path` with those of the groups that its list of defaults names."""
    return _Composer(project, posixpath.dirname(path)).whole(values, _Place("", "", True), 0)


class _Composer:
    """One per primary configuration; reads at most `MAX_PARTS` files of `MAX_BYTES` together."""

    def __init__(self, project: Path, root: str) -> None:
        self.project, self.root, self.files, self.bytes = project, root, MAX_PARTS, MAX_BYTES

    def whole(self, values: Mapping[Any, Any], place: _Place, depth: int) -> Tree:
        """A file with its defaults, from the root on: later ones win, the file itself where `_self_` stands or last."""
        own: Any = {key: value for key, value in values.items() if key != "defaults"}
        for name in reversed(place.package.split(".") if place.package else []):
            own = {name: own}
        defaults = values.get("defaults")
        found: Tree = {}
        placed = False
        for one in defaults if isinstance(defaults, list) else ():
            if one == "_self_":
                placed = True
                _merge(found, own)
            for part, option in _named(one, place) if depth < MAX_DEPTH else ():
                _merge(found, self.part(part, option, depth))
        if not placed:
            _merge(found, own)
        return found

    def part(self, place: _Place, option: str, depth: int) -> Tree:
        """One option of a group, from the root on."""
        name = option if option.endswith(".yaml") else f"{option}.yaml"
        path = posixpath.normpath(posixpath.join(place.group, name))
        if path.startswith(("../", "/")) or self.files < 1:
            return {}
        self.files -= 1
        try:
            content = self._read(path)
            values = boundedyaml.parse(content)
        except (OSError, FormatError, ValueError):
            return {}
        if not isinstance(values, Mapping):
            return {}
        header = None if place.named else _PACKAGE.match(content.decode("utf-8", "replace"))
        place = replace(place, package=_package(header[1], place)) if header else place
        return self.whole(values, place, depth + 1) if place.package.count(".") < MAX_DEEP else {}

    def _read(self, path: str) -> bytes:
        """A file below the primary configuration. Raises FormatError for one elsewhere, or when that is too much."""
        full = self.project / self.root / path
        if not Path(os.path.realpath(full)).is_relative_to(os.path.realpath(self.project)):
            raise FormatError(f"{path} lies outside of the project")
        content = rundir.read(full, min(self.bytes, boundedyaml.MAX_BYTES))
        self.bytes -= len(content)
        return content


def _package(header: str, place: _Place) -> str:
    """What the first comment of a file says of its place."""
    named = {"_global_": "", "_group_": place.group.replace("/", ".")}
    return named.get(header, header)


def _named(one: Any, parent: _Place) -> Iterator[tuple[_Place, str]]:
    """(place, option) of an entry of a list of defaults; none for one that is switched off or overrides another's."""
    for key, options in one.items() if isinstance(one, Mapping) else [("", one)]:
        for option in options if isinstance(options, list) else [options]:
            if not isinstance(option, str) or option == "_self_":
                continue
            group, name, package = str(key), option, ""
            if not key:  # `a/x@p` is the option x of the group a
                whole, at, package = option.partition("@")
                group, slash, name = whole.rpartition("/")
                group, package = f"{group}{slash if not group else ''}", f"{at}{package}"
            place = _place(f"{group}{package}", parent) if group or package else parent
            if place is not None and _OPTION.fullmatch(name):
                yield place, name


def _place(key: str, parent: _Place) -> _Place | None:
    """`optional group@package`: the folder from the parent's on unless it begins with `/`, the package always."""
    match = _GROUP.fullmatch(key)
    if match is None:
        return None
    name, package = match["group"] or "", match["package"]
    folder = name if match["root"] or not parent.group else posixpath.join(parent.group, name).rstrip("/")
    if package == "_global_":
        return _Place(folder, "", True)
    own = package if package is not None and package != "_group_" else name.replace("/", ".")
    own = "" if own == "_here_" else own
    return _Place(folder, ".".join(filter(None, (parent.package, own))), package is not None)


def _merge(into: Tree, other: Mapping[Any, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = _copied(value)


def _copied(value: Any) -> Any:
    return {key: _copied(one) for key, one in value.items()} if isinstance(value, Mapping) else value

"""Dataclasses of the contract to JSON and back, with non-finite numbers kept (as the strings NaN, Infinity,
-Infinity)."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from . import contract
from .errors import FormatError

T = TypeVar("T")
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
MAX_LINE = 1 << 20
"""Bytes of the longest line that is taken for a record."""
MAX_DEPTH = 64
"""Objects and lists within each other in any JSON of ours; what walks through one stays far from Python's own limit."""


def to_plain(value: Any) -> Any:
    """Turns dataclasses, tuples and non-finite floats into what strict JSON can hold. A record carries its `kind`."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if value != value else ("Infinity" if value > 0 else "-Infinity")
    if value is None or isinstance(value, (str, int, bool)):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain = {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        kind = getattr(value, "kind", None)
        return {"kind": kind, **plain} if kind in contract.RECORDS else plain
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(item) for item in value]
    if hasattr(value, "item") and callable(value.item):  # numpy and torch scalars
        return to_plain(value.item())
    return str(value)


def dumps(value: Any, indent: int | None = None) -> str:
    """Strict JSON (`allow_nan=False`) of a contract dataclass or of anything made of plain values."""
    separators = (",", ":") if indent is None else None
    return json.dumps(to_plain(value), allow_nan=False, ensure_ascii=False, indent=indent, separators=separators)


def line(record: contract.Record) -> bytes:
    """One record as one line of `stream.jsonl`."""
    return dumps(record).encode("utf-8", "replace") + b"\n"


def from_plain(cls: type[T], plain: Any, source: str = "") -> T:
    """Builds `cls` from parsed JSON. Unknown keys are ignored (a newer writer), missing ones take the field's default.

    Raises FormatError that names `source`, the field and the value.
    """
    value = _converter(typing.cast(typing.Hashable, cls))(plain, source or cls.__name__)
    return typing.cast(T, value)


def parsed(text: str | bytes, source: str) -> Any:
    """What JSON text holds, whoever wrote it. FormatError names `source`, also where it is nested too deeply."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{source} is not readable JSON: {error}") from None
    if _openings(text) > MAX_DEPTH and _deeper(found, MAX_DEPTH):
        raise FormatError(f"{source} is not readable JSON: it is nested more than {MAX_DEPTH} deep")
    return found


def _openings(text: str | bytes) -> int:
    """As many brackets as are opened in the text, which is never nested deeper."""
    return text.count("[") + text.count("{") if isinstance(text, str) else text.count(b"[") + text.count(b"{")


def _deeper(value: Any, depth: int) -> bool:
    """Whether more lists and objects than `depth` lie within each other."""
    level = [value]
    for _ in range(depth + 1):
        inner = [part for part in level if isinstance(part, (dict, list))]
        level = [below for part in inner for below in (part.values() if isinstance(part, dict) else part)]
        if not inner:
            return False
    return True


def loads(cls: type[T], text: str | bytes, source: str = "") -> T:
    """Parses JSON text into `cls`; FormatError names `source`."""
    return from_plain(cls, parsed(text, source or cls.__name__), source)


def record(text: str | bytes, source: str = "stream.jsonl") -> contract.Record | None:
    """Parses one line of a stream; None for an unknown kind (a newer writer). Raises FormatError for anything
    else unreadable."""
    if len(text) > MAX_LINE:
        raise FormatError(f"{source}: a line of {len(text)} bytes is longer than any record")
    plain = parsed(text, f"{source}: a line")
    if not isinstance(plain, dict):
        raise FormatError(f"{source}: a line holds {type(plain).__name__}, not an object")
    cls = contract.RECORDS.get(str(plain.get("kind")))
    return None if cls is None else typing.cast(contract.Record, from_plain(cls, plain, source))


Converter = Callable[[Any, str], Any]


@cache
def _converter(hint: Any) -> Converter:
    if dataclasses.is_dataclass(hint):
        return _dataclass_converter(typing.cast(type, hint))
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if _is_union(hint):
        inner = [_converter(arg) for arg in args if arg is not type(None)]
        return lambda value, where: None if value is None else _first(inner, value, where)
    if origin is typing.Literal:
        return lambda value, where: (
            value if value in args else _fail(where, value, "one of " + ", ".join(map(repr, args)))
        )
    if origin is tuple:
        return _tuple_converter(args)
    if origin is dict:
        return _dict_converter(_converter(args[1]))
    if hint is float:
        return _float
    if hint is Any:
        return lambda value, where: value
    return lambda value, where: _exact(hint, value, where)


def _first(converters: list[Converter], value: Any, where: str) -> Any:
    for converter in converters[:-1]:
        try:
            return converter(value, where)
        except FormatError:
            continue
    return converters[-1](value, where)


def _float(value: Any, where: str) -> float:
    if isinstance(value, bool):
        _fail(where, value, "a number")
    if isinstance(value, (int, float)):
        return float(value)
    return _NON_FINITE[value] if isinstance(value, str) and value in _NON_FINITE else _fail(where, value, "a number")


def _exact(kind: type, value: Any, where: str) -> Any:
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    return _fail(where, value, kind.__name__)


def _tuple_converter(args: tuple[Any, ...]) -> Converter:
    if len(args) == 2 and args[1] is Ellipsis:
        item = _converter(args[0])

        def many(value: Any, where: str) -> tuple[Any, ...]:
            return (
                tuple(item(part, where) for part in value) if isinstance(value, list) else _fail(where, value, "a list")
            )

        return many
    items = [_converter(arg) for arg in args]

    def fixed(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) != len(items):
            _fail(where, value, f"a list of {len(items)}")
        return tuple(convert(part, where) for convert, part in zip(items, value, strict=True))

    return fixed


def _dict_converter(item: Converter) -> Converter:
    def convert(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            _fail(where, value, "an object")
        return {key: item(part, where) for key, part in value.items()}

    return convert


def _dataclass_converter(cls: type) -> Converter:
    hints = typing.get_type_hints(cls)
    fields = [(f.name, _converter(hints[f.name]), _required(f), _ready(hints[f.name])) for f in dataclasses.fields(cls)]

    def convert(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            _fail(where, value, "an object")
        version = value.get("format", contract.FORMAT)
        if isinstance(version, int) and version > contract.FORMAT:
            raise FormatError(
                f"{where} has format {version}, this program reads up to {contract.FORMAT}", "Update stationmaster."
            )
        found: dict[str, Any] = {}
        for name, item, required, ready in fields:
            part = value.get(name, dataclasses.MISSING)
            if type(part) is ready:  # nearly every field of a record: no call, no words for its place
                found[name] = part
            elif part is not dataclasses.MISSING:
                found[name] = item(part, f"{where}: {name}")
            elif required:
                raise FormatError(f"{where}: the field {name!r} is missing")
        return cls(**found)

    return convert


def _ready(hint: Any) -> type | None:
    """The JSON type that needs no conversion for this hint: `float` for float and float | None."""
    args = [arg for arg in typing.get_args(hint) if arg is not type(None)] if _is_union(hint) else [hint]
    return args[0] if len(args) == 1 and args[0] in (float, int, str, bool) else None


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _fail(where: str, value: Any, wanted: str) -> typing.NoReturn:
    shown = repr(value)
    raise FormatError(f"{where} is {shown if len(shown) <= 80 else shown[:77] + '...'}, wanted {wanted}")

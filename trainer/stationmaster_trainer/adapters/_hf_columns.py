"""What the columns of a data file are for a language or image model: recognised by name and content, with the reason.

`extra.columns` ({role: column}) overrides; roles are the names in `ROLES`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, DataError
from ..table import closest, listed
from ..target import NAMES as LABELS
from ._hf_rows import Rows

CAUSAL, SEQUENCE, TOKEN, IMAGE = "causal_lm", "sequence_classification", "token_classification", "image_classification"
TASKS = {CAUSAL: "language_modeling", SEQUENCE: "classification", TOKEN: "classification", IMAGE: "classification"}
"""Kind of head → task of the configuration."""
ROLES: dict[str, tuple[str, ...]] = {
    "messages": ("messages", "conversations", "conversation", "dialogue", "dialog", "chat"),
    "prompt": ("prompt", "instruction", "question", "query"),
    "input": ("input", "context"),
    "completion": ("completion", "output", "response", "answer"),
    "tools": ("tools",),
    "input_ids": ("input_ids",),
    "words": ("tokens", "words"),
    "tags": ("ner_tags", "tags", "labels", "pos_tags", "chunk_tags", "upos"),
    "image": ("image", "img", "pixel_values", "image_path", "file_name", "image_file"),
    "text": ("text", "sentence", "content", "review", "document", "body", "comment", "tweet", "sentence1", "premise"),
    "text_pair": ("text_pair", "sentence2", "hypothesis"),
}
"""Role → column names that are taken for it, the first that exists."""
_LOOKED_AT = 50
"""Rows whose cells are looked at."""


@dataclass(frozen=True)
class Roles:
    """What was taken for what."""

    kind: str
    """`causal_lm`, `sequence_classification`, `token_classification` or `image_classification`."""
    form: str
    """`messages`, `prompt`, `input_ids`, `text`, `words` or `image`: how a row becomes a sample."""
    columns: dict[str, str]
    """Role → column; `label` is the target."""
    unused: tuple[str, ...]

    @property
    def words(self) -> str:
        """For people: `messages → conversation`."""
        pairs = ", ".join(f"{column!r} is the {role.replace('_', ' ')}" for role, column in self.columns.items())
        rest = f"; not used: {listed(self.unused, 8)}" if self.unused else ""
        return f"{pairs}{rest}"


def recognise(rows: Rows, *, task: str | None, target: str | None, named: Mapping[str, str] | None = None) -> Roles:
    """Raises DataError when the columns fit no form, ConfigError for a role or column that does not exist.

    `target`: the column that is learnt: tags or a completion where it is recognised as such, else the label.
    """
    named = dict(named or {})
    if target:
        with contextlib.suppress(DataError):
            roles = _recognise(rows, task, named)
            if target in (roles.columns.get(role) for role in ("label", "tags", "completion")):
                return roles
        named = {"label": target, **named}
    return _recognise(rows, task, named)


def _recognise(rows: Rows, task: str | None, named: Mapping[str, str]) -> Roles:
    found = _named(rows, named)
    for role, names in ROLES.items():
        if role not in found:
            column = _by_name(rows, names, role)
            if column is not None and column not in found.values():
                found[role] = column
    label = found.get("label") or _label(rows, found)
    text = found.get("text") or _longest_text(rows, label)
    if text is not None:
        found["text"] = text
    kind, form, used = _form(rows, found, label, task)
    columns = {role: found[role] for role in used if role in found}
    if kind in (SEQUENCE, IMAGE):
        if label is None:
            raise _no_form(rows, f"a column with the class of each {form}")
        columns["label"] = label
    unused = tuple(name for name in rows.columns if name not in columns.values())
    return Roles(kind, form, columns, unused)


def _form(rows: Rows, found: Mapping[str, str], label: str | None, task: str | None) -> tuple[str, str, list[str]]:
    """Kind, form and the roles that it uses."""
    language = task in (None, "language_modeling")
    classes = task in (None, "classification", "regression")
    if "messages" in found and language:
        return CAUSAL, "messages", ["messages", "tools"]
    if "prompt" in found and "completion" in found and language:
        return CAUSAL, "prompt", ["prompt", "input", "completion"]
    if "words" in found and "tags" in found and classes:
        return TOKEN, "words", ["words", "tags"]
    if "input_ids" in found and language:
        return CAUSAL, "input_ids", ["input_ids", "tags"]
    if "image" in found and classes:
        return IMAGE, "image", ["image"]
    if "text" not in found:
        raise _no_form(rows, "a column with text")
    if label is not None and classes:
        return SEQUENCE, "text", ["text", "text_pair"]
    if language:
        return CAUSAL, "text", ["text"]
    raise _no_form(rows, f"a target for task {task}")


def _named(rows: Rows, named: Mapping[str, str]) -> dict[str, str]:
    for role, column in named.items():
        if role != "label" and role not in ROLES:
            raise ConfigError(f"extra.columns names the role {role!r}.", f"Known roles: label, {', '.join(ROLES)}.")
        if column not in rows.columns:
            close = closest(column, rows.columns)
            raise DataError(
                f"{rows.name} has no column {column!r} (for {role}); its columns are {listed(rows.columns)}.",
                f"Did you mean {close!r}?" if close else "Name one of these.",
            )
    return dict(named)


def _by_name(rows: Rows, names: tuple[str, ...], role: str) -> str | None:
    folded = {name.strip().casefold(): name for name in reversed(list(rows.columns))}
    found = (folded[name] for name in names if name in folded)
    return next((column for column in found if _fits(first_cell(rows, column), role)), None)


def _fits(cell: Any, role: str) -> bool:
    """Whether a cell can have this role."""
    if role == "messages":
        return isinstance(cell, list) and (not cell or isinstance(cell[0], dict))
    if role in ("words", "tags", "input_ids"):
        return isinstance(cell, list) and not (cell and isinstance(cell[0], (dict, list)))
    if role in ("prompt", "completion"):
        return isinstance(cell, (str, list))
    if role == "image":
        return isinstance(cell, (dict, str, bytes))
    return isinstance(cell, str) if role != "tools" else cell is not None


def first_cell(rows: Rows, column: str) -> Any:
    """The first cell of the column that holds something; None when none does."""
    return next((cell for cell in rows.columns[column] if cell is not None), None)


def _label(rows: Rows, found: Mapping[str, str]) -> str | None:
    """The target by its usual names, a plain value per row."""
    taken = {found[role] for role in ("messages", "text", "text_pair", "image", "words", "input_ids") if role in found}
    folded = {name.strip().casefold(): name for name in reversed(list(rows.columns))}
    for name in (*LABELS, *rows.classes):
        column = folded.get(name.casefold())
        if column is not None and column not in taken and isinstance(first_cell(rows, column), (str, int, float)):
            return column
    return None


def _longest_text(rows: Rows, label: str | None) -> str | None:
    """The column of texts with the most characters over the first rows, when it holds more than single words."""
    sizes = {}
    for name, cells in rows.columns.items():
        seen = [cells[at] for at in range(min(_LOOKED_AT, len(rows)))]
        texts = [cell for cell in seen if isinstance(cell, str)]
        if name != label and texts and any(" " in text for text in texts):
            sizes[name] = sum(map(len, texts)) / len(texts)
    return max(sizes, key=lambda name: sizes[name]) if sizes else None


def _no_form(rows: Rows, wanted: str) -> DataError:
    return DataError(
        f"{rows.name} lacks {wanted}; its columns are {listed(rows.columns)}.",
        "Known forms: messages; prompt and completion; instruction and output; text; text and label; tokens and "
        "ner_tags; image and label; input_ids. Or say it: extra.columns {role: column}, for example {text: body}.",
    )

"""Rows of a conversation, a prompt with its answer, or an instruction as text, with the places that are to be learnt.

Conversations go through the tokenizer's own chat template; only what the assistant says carries loss. Not covered:
preferences (chosen and rejected answers), images inside messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import DataError, ModelError
from ._hf_columns import Roles
from ._hf_rows import Rows

ASSISTANT = "assistant"
_SPEAKERS = {"human": "user", "gpt": ASSISTANT, "model": ASSISTANT, "bot": ASSISTANT, "chatgpt": ASSISTANT}
_PLAIN = "### Instruction:\n{prompt}\n\n### Response:\n"
_PLAIN_INPUT = "### Instruction:\n{prompt}\n\n### Input:\n{input}\n\n### Response:\n"


@dataclass(frozen=True)
class Rendered:
    """A row as the model reads it."""

    text: str
    learnt: tuple[tuple[int, int], ...]
    """Character spans [start, end) that carry loss."""
    templated: bool
    """Whether a chat template made it, which writes its own special tokens."""


@dataclass(frozen=True)
class Writer:
    """Turns rows of one form into texts."""

    tokenizer: Any
    roles: Roles
    templated: bool

    def render(self, rows: Rows) -> Iterator[Rendered]:
        """Every row in turn. Raises DataError that names the row that cannot be read."""
        for at, cells in self._cells(rows):
            try:
                yield self._conversation(cells) if self.templated else self._plain(cells)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise _unreadable(rows, at, error) from None
            except Exception as error:
                if type(error).__name__ not in ("TemplateError", "UndefinedError", "TemplateSyntaxError"):
                    raise
                raise _refused(rows, at, error) from None

    def check(self, rows: Rows) -> None:
        """Raises DataError for the first row whose cells cannot be written. What a template refuses is not seen."""
        for at, cells in self._cells(rows):
            try:
                messages_of(cells) if self.templated else [_text(cells[name]) for name in ("prompt", "completion")]
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise _unreadable(rows, at, error) from None

    def _cells(self, rows: Rows) -> Iterator[tuple[int, dict[str, Any]]]:
        """Position of each row, and its cells by role."""
        columns = {role: rows.columns[column] for role, column in self.roles.columns.items()}
        for at in range(len(rows)):
            yield at, {role: cells[at] for role, cells in columns.items()}

    @property
    def words(self) -> str:
        """How rows are written, for people."""
        if self.templated:
            return "the tokenizer's chat template; loss on the assistant's words only"
        pair = "instruction" in self.roles.columns.get("prompt", "")
        how = "plain text under '### Instruction' and '### Response'" if pair else "prompt and completion one behind"
        return f"{how}{'' if pair else ' the other'} (no chat template); loss on the answer only"

    def _plain(self, cells: Mapping[str, Any]) -> Rendered:
        prompt, answer = _text(cells["prompt"]), _text(cells["completion"])
        if "instruction" in self.roles.columns["prompt"]:
            more = _text(cells.get("input") or "")
            prompt = (_PLAIN_INPUT if more else _PLAIN).format(prompt=prompt, input=more)
        whole = f"{prompt}{answer}{self.tokenizer.eos_token or ''}"
        return Rendered(whole, ((len(prompt), len(whole)),), False)

    def _conversation(self, cells: Mapping[str, Any]) -> Rendered:
        messages = messages_of(cells)
        tools = cells.get("tools")
        whole = self._template(messages, tools)
        return Rendered(whole, tuple(self._spans(messages, tools, whole)), True)

    def _spans(self, messages: list[dict[str, Any]], tools: Any, whole: str) -> Iterator[tuple[int, int]]:
        """Where the assistant speaks, the mark of its end included.

        The text up to a turn is what the template makes of the messages before it; where the template writes earlier
        turns differently (it drops their thoughts, say) the turn's own words are looked for.
        """
        at = 0
        for number, message in enumerate(messages):
            if message.get("role") != ASSISTANT:
                continue
            before = self._template(messages[:number], tools, prompt=True) if number else ""
            after = self._template(messages[: number + 1], tools)
            if whole.startswith(before) and whole.startswith(after.rstrip()):
                start, end = len(before), len(after.rstrip())
            else:
                words = str(message.get("content") or "").strip()
                start = whole.find(words, at)
                if not words or start < 0:
                    continue
                end = self._with_end(whole, start + len(words))
            at = end
            yield start, end

    def _with_end(self, whole: str, end: int) -> int:
        mark = self.tokenizer.eos_token
        return end + len(mark) if mark and whole.startswith(mark, end) else end

    def _template(self, messages: list[dict[str, Any]], tools: Any, prompt: bool = False) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                messages, tools=tools or None, tokenize=False, add_generation_prompt=prompt
            )
        )


def writer(tokenizer: Any, roles: Roles, use_template: bool | None) -> Writer:
    """For chat the template is a must, for prompts it is used when there is one and `use_template` is not false."""
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if roles.form == "messages":
        if not has_template:
            raise ModelError(
                f"the data are conversations (column {roles.columns['messages']!r}), and the tokenizer has no chat "
                "template to write them with.",
                "Take the model's instruct or chat variant, give extra.tokenizer one that has a template, or give the "
                "data as prompt and completion.",
            )
        return Writer(tokenizer, roles, True)
    if use_template and not has_template:
        raise ModelError("extra.chat_template is true, and the tokenizer has no chat template.", "Leave it out.")
    return Writer(tokenizer, roles, has_template and use_template is not False)


def messages_of(cells: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages of a row in the form that templates take: `role` and `content`."""
    if "messages" in cells:
        return [_message(each) for each in cells["messages"] or ()]
    prompt, answer = cells["prompt"], cells["completion"]
    if isinstance(prompt, list) or isinstance(answer, list):
        parts = [*_listed(prompt, "user"), *_listed(answer, ASSISTANT)]
        return [_message(each) for each in parts]
    more = _text(cells.get("input") or "")
    asked = f"{_text(prompt)}\n\n{more}" if more else _text(prompt)
    return [{"role": "user", "content": asked}, {"role": ASSISTANT, "content": _text(answer)}]


def _message(plain: Mapping[str, Any]) -> dict[str, Any]:
    """`role` and `content`, also from the `from` and `value` of ShareGPT's form."""
    if "from" in plain and "role" not in plain:
        speaker = str(plain["from"])
        return {"role": _SPEAKERS.get(speaker, speaker), "content": plain.get("value", "")}
    if "role" not in plain:
        raise ValueError(f"a message has the keys {', '.join(map(str, plain))}, wanted are role and content")
    return {key: value for key, value in plain.items() if value is not None}


def _listed(cell: Any, speaker: str) -> list[Mapping[str, Any]]:
    return cell if isinstance(cell, list) else [{"role": speaker, "content": _text(cell)}]


def _text(cell: Any) -> str:
    if not isinstance(cell, str):
        raise TypeError(f"a cell holds {type(cell).__name__}, not a text")
    return cell


def _unreadable(rows: Rows, at: int, error: Exception) -> DataError:
    return DataError(
        f"row {rows.numbers[at]} of {rows.name} cannot be read: {error}.",
        'Messages are lists of {"role": "user" or "assistant", "content": text}; other cells are texts.',
    )


def _refused(rows: Rows, at: int, error: Exception) -> DataError:
    return DataError(
        f"the tokenizer's chat template refuses row {rows.numbers[at]} of {rows.name}: {error}.",
        "Correct the order of the roles in that row, or remove it.",
    )

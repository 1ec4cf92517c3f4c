"""What a tool gives back: one short text for the model, the same facts as structured content, and errors in
their exact words."""

from __future__ import annotations

import secrets
import unicodedata
from typing import Any

from mcp_types import CallToolResult, TextContent
from pydantic import ValidationError

from stationmaster_trainer import redact
from stationmaster_trainer.codec import to_plain
from stationmaster_trainer.errors import StationmasterError

from .words import short

MAX_UNTRUSTED = 2000
"""Characters of foreign text (logs, exceptions, cells) in one answer."""
MAX_REFUSAL = 4000
"""Characters of one refusal, and again of its way out: a name or a message in it may come from anywhere."""
MAX_TEXT = 40_000
"""Characters of one answer."""
MAX_PRINTED = 1_000_000
"""Characters of what a command prints."""
META = "stationmaster/facts"
"""Key of `_meta` under which every fact stands, for programs: no client shows it to a model."""
SHOWN = (
    "plan",
    "digest",
    "run",
    "state",
    "cause",
    "step",
    "total_steps",
    "alerts",
    "cursor",
    "next_poll_seconds",
    "runs",
)
"""Facts that also stand in the structured content, where a model may have to read them."""
BRIEF = ("rule", "severity", "first_step", "last_step", "run", "state", "cause", "step", "total_steps")
"""What is left there of an alert and of a run."""


def answer(text: str, **facts: Any) -> CallToolResult:
    """A tool's result: the text, and the facts under the names that clients rely on.

    Claude Code, Codex and Cursor hand a model the structured content *instead of* the text, other clients the text
    alone: so the structured content holds the text too, and of the facts only those that are needed for the next call.
    """
    text = clean(text, MAX_TEXT)
    plain_facts: dict[str, Any] = to_plain(facts)
    shown = {name: _brief(plain_facts[name]) for name in SHOWN if name in plain_facts}
    return CallToolResult(
        content=[TextContent(type="text", text=text)],
        structured_content={"text": text, **shown},
        _meta={META: plain_facts},
    )


def facts_of(result: CallToolResult) -> dict[str, Any]:
    """Every fact of a result, for a client that is a program."""
    found: dict[str, Any] = (result.meta or {}).get(META) or result.structured_content or {}
    return found


def _brief(fact: Any) -> Any:
    """Alerts and runs in a list without what the text says of them."""
    if not isinstance(fact, list):
        return fact
    return [{name: one[name] for name in BRIEF if name in one} if isinstance(one, dict) else one for one in fact]


def refusal(error: StationmasterError) -> CallToolResult:
    """An error result with the error's own words and nothing around them."""
    message, way_out = clean(error.message, MAX_REFUSAL), clean(error.way_out, MAX_REFUSAL)
    facts = {"error": type(error).__name__, "message": message, "way_out": way_out}
    return CallToolResult(
        content=[TextContent(type="text", text=f"{message} {way_out}".strip())], structured_content=facts, is_error=True
    )


def wrong_arguments(tool: str, error: ValidationError, known: list[str]) -> CallToolResult:
    """Each rejected argument with what is allowed, one a line, the value left out (it is the caller's own)."""
    lines = [f"{tool}: " + "; ".join(_one(detail) for detail in error.errors()[:5]) + "."]
    lines.append(f"Arguments of {tool}: {', '.join(known)}.")
    return CallToolResult(content=[TextContent(type="text", text="\n".join(lines))], is_error=True)


def unknown_arguments(tool: str, unknown: list[str], known: list[str]) -> CallToolResult:
    """Names that the tool does not have; the protocol would drop them silently."""
    names = ", ".join(repr(one[:100]) for one in unknown[:10])
    text = f"{tool} has no argument {names}. Its arguments: {', '.join(known)}."
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def clean(text: str, limit: int = MAX_UNTRUSTED) -> str:
    """Foreign text made harmless to show: control, ANSI, bidirectional and zero-width characters out, secrets
    out, length capped."""
    kept = redact.text(text if text.isprintable() else "".join(filter(_harmless, text)))
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def shown(text: str) -> str:
    """The same for a terminal, where a text may be long and an escape would be obeyed."""
    return clean(text, MAX_PRINTED)


def _harmless(char: str) -> bool:
    return char in "\n\t" or unicodedata.category(char)[0] != "C"


def plain(text: str, limit: int) -> str:
    """Foreign text on one line, harmless to show in the middle of our own: cleaned, then cut at a word."""
    return short(clean(text), limit)


def fence(text: str, label: str, limit: int = MAX_UNTRUSTED) -> str:
    """Foreign text between random boundaries, labelled as data and not instructions."""
    mark = secrets.token_hex(4)
    return f"[{label}, untrusted text {mark}]\n{clean(text, limit)}\n[end {mark}]"


def _one(detail: Any) -> str:
    place = ".".join(str(part) for part in detail["loc"]) or "arguments"
    return f"{place}: {detail['msg']}"

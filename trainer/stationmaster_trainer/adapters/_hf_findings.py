"""What a person should know of tokenised data before the start: what was taken for what, what carries loss, what was
cut; as findings beside those that every split gets.
"""

from __future__ import annotations

from typing import Any

from ..facts import Finding
from ._hf_columns import CAUSAL, TOKEN, Roles
from ._hf_samples import Maker, Part
from ._hf_sequences import Sequences

MUCH_CUT = 0.1
"""Share of rows beyond the context from which it is a warning."""


def of_parts(maker: Maker, train: Part, val: Part | None, rows: int) -> list[Finding]:
    """`rows`: those of the training part before any was left out."""
    found = [_columns(maker.roles), *_loss(maker, train), *_overlong(maker, train, rows), *_sampled(train, rows)]
    silent = train.told.silent + (val.told.silent if val else 0)
    if silent:
        message = f"{_about(train)}{silent:,} rows have no token that carries loss and are left out."
        cut = train.told.overlong and not maker.drops
        advice = "Their answers begin beyond sequence_length." if cut else "They hold no answer: look at the roles."
        found.append(Finding("no_loss", "warning", message, advice, {"rows": silent}))
    return found


def _about(part: Part) -> str:
    return "about " if part.told.seen else ""


def _sampled(train: Part, rows: int) -> list[Finding]:
    """That tokens were not counted on every row."""
    seen = train.told.seen
    if not seen:
        return []
    left_out = train.told.silent + train.told.dropped
    message = (
        f"Tokens were counted on {seen:,} of {rows:,} training rows, drawn all over the file: their numbers are "
        "estimates. Copies were looked for among the whole texts of all rows, as they are written before they are cut"
        f"{', those that will be left out included' if left_out else ''}; a run tokenises every row."
    )
    return [Finding("sampled", "info", message, facts={"rows": rows, "tokenised": seen})]


def _columns(roles: Roles) -> Finding:
    message = f"Columns: {roles.words or 'plain text'}; trained as {roles.kind.replace('_', ' ')}."
    facts: dict[str, Any] = {"kind": roles.kind, "form": roles.form, "columns": roles.columns}
    return Finding("columns", "info", message, "Wrong? Set extra.columns, {role: column}.", facts)


def _loss(maker: Maker, train: Part) -> list[Finding]:
    told = train.told
    if maker.roles.kind not in (CAUSAL, TOKEN) or not told.tokens:
        return []
    share = told.learnt / told.tokens
    how = ""
    if maker.roles.form in ("messages", "prompt"):
        how = f" ({maker.writer.words})"
    message = f"{_about(train)}{told.tokens:,} training tokens, {told.learnt:,} of them carry loss ({share:.1%}){how}."
    facts = {"estimate": bool(told.seen), "tokens": told.tokens, "with_loss": told.learnt, "share": share}
    return [Finding("loss_tokens", "info", message, facts=facts)]


def _overlong(maker: Maker, train: Part, rows: int) -> list[Finding]:
    told = train.told
    if not told.overlong:
        return []
    length, share = maker.length, told.overlong / max(1, rows)
    become = "dropped" if maker.drops and maker.roles.kind == CAUSAL else "truncated"
    whose = "the longest of those counted" if told.seen else "the longest"
    longest = f"; {whose} has {told.longest:,}" if told.longest > length else ""
    message = (
        f"{_about(train)}{told.overlong:,} of {rows:,} training rows ({share:.1%}) are longer than sequence_length "
        f"{length}{longest}: {become}."
    )
    most = getattr(maker.model, "max_position_embeddings", None)
    fits = min(told.longest, most) if isinstance(most, int) else told.longest
    every = fits >= told.longest and not told.seen
    advice = f"sequence_length {_rounded(fits)} would hold {'all' if every else 'more'}."
    facts = {
        "estimate": bool(told.seen),
        "rows": told.overlong,
        "longest": told.longest,
        "sequence_length": length,
        "become": become,
    }
    return [Finding("overlong", "warning" if share >= MUCH_CUT else "info", message, advice, facts)]


def _rounded(tokens: int) -> int:
    """Up to a multiple of 64 where that is not far."""
    return -(-tokens // 64) * 64 if tokens > 64 else tokens


def label_counts(part: Part | None) -> dict[str, int]:
    """Class → tokens, for tags of words."""
    if part is None or not isinstance(part.samples, Sequences) or part.samples.label_counts is None:
        return {}
    return dict(zip(part.classes, part.samples.label_counts.tolist(), strict=False))

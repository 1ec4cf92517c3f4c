"""Texts as token ids: whole documents one behind the other, answers with their prompts, sentences, words with tags.

Each function tells what was cut or left out. Not covered: several samples packed into one row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, pairwise
from typing import Any, NamedTuple

import numpy as np

from ..errors import DataError
from ._hf_chat import Rendered
from ._hf_rows import Rows
from ._hf_sequences import IGNORED, Gathering, Sequences, flat, rows_and_places

CHUNK = 1000
"""Texts that the tokenizer gets at a time."""
IDS_ALONE = {"return_attention_mask": False, "return_token_type_ids": False}  # nosec B105 # no password
"""What a tokenizer is told to leave out."""


@dataclass
class Told:
    """What happened to the rows of one part."""

    tokens: int = 0
    learnt: int = 0
    """Tokens that carry loss."""
    overlong: int = 0
    """Rows longer than the context."""
    longest: int = 0
    """Tokens of the longest row before anything was cut."""
    silent: int = 0
    """Rows left out because none of their tokens carries loss."""
    dropped: int = 0
    """Rows left out because they are too long."""
    seen: int = 0
    """Rows that were tokenised where they stand for more, so that the other figures are estimates; 0: all were."""

    def kept(self, tokens: np.ndarray, learnt: np.ndarray, length: int, drop: bool) -> np.ndarray:
        """Counts rows of so many tokens each, `learnt` of them within `length`; bool (N,): whether one is a sample."""
        over = tokens > length
        gone = over if drop else np.zeros_like(over)
        silent = ~gone & (learnt == 0)
        good = ~(gone | silent)
        self.longest = max(self.longest, int(tokens.max(initial=0)))
        self.overlong += int(over.sum())
        self.dropped += int(gone.sum())
        self.silent += int(silent.sum())
        self.tokens += int(np.minimum(tokens, length)[good].sum())
        self.learnt += int(learnt[good].sum())
        return good

    def standing_for(self, rows: int, seen: int) -> Told:
        """The same of `rows` rows, of which some, `seen` in number, were counted."""
        if rows == seen:
            return self
        names = ("tokens", "learnt", "overlong", "silent", "dropped")
        more = {name: round(getattr(self, name) * rows / seen) for name in names}
        return replace(self, **more, seen=seen)


class Marked(NamedTuple):
    """Rows of tokens one behind the other."""

    ids: np.ndarray
    """int32 (tokens,)."""
    labels: np.ndarray
    """int32 (tokens,): the token where it is to be learnt, else IGNORED."""
    lengths: np.ndarray
    """int64 (rows,)."""


def documents(tokenizer: Any, texts: Iterable[str]) -> np.ndarray:
    """All texts as one sequence int32 (tokens,), the end-of-text token behind each."""
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    parts = [np.zeros(0, dtype=np.int32)]
    for chunk in _chunks(texts):
        encoded = tokenizer(chunk, add_special_tokens=False, verbose=False, **IDS_ALONE)["input_ids"]
        parts.append(flat(part for ids in encoded for part in (ids, end)))
    return np.concatenate(parts)


def answers(
    tokenizer: Any, rendered: Iterable[Rendered], numbers: np.ndarray, length: int, drop: bool
) -> tuple[Sequences, Told]:
    """Samples with `labels`: the token where it is to be learnt, else IGNORED. Longer rows are cut or dropped."""
    told, samples, kept = Told(), Gathering(), [np.zeros(0, dtype=bool)]
    for chunk in _chunks(rendered):
        kept.append(take(samples, _marked(tokenizer, chunk), told, length, drop))
    return samples.done(numbers[np.concatenate(kept)], pad_token(tokenizer)), told


def take(samples: Gathering, rows: Marked, told: Told, length: int, drop: bool) -> np.ndarray:
    """Puts the rows that become samples to the others, cut after `length` tokens; bool (rows,): which they are.

    The first token predicts nothing and so carries no loss: the model shifts labels by one.
    """
    row, place = rows_and_places(rows.lengths)
    inside = place < length
    carrying = inside & (place > 0) & (rows.labels != IGNORED)
    learnt = np.bincount(row[carrying], minlength=len(rows.lengths))
    good = told.kept(rows.lengths, learnt, length, drop)
    chosen = inside & good[row]
    fields = {"input_ids": rows.ids[chosen], "labels": rows.labels[chosen]}
    samples.block(fields, np.minimum(rows.lengths, length)[good])
    return good


def sentences(tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None, numbers: np.ndarray, length: int) -> (
    tuple[Sequences, Told]
):  # fmt: skip
    """Samples for one class per text, cut after `length` tokens."""
    told, samples = Told(), Gathering()
    options = {"truncation": True, "max_length": length, "return_attention_mask": False, "verbose": False}
    for start in range(0, len(texts), CHUNK):
        second = None if pairs is None else list(pairs[start : start + CHUNK])
        found = tokenizer(list(texts[start : start + CHUNK]), second, **options)
        _count_cut(found, told, length)
        samples.many({"input_ids": found["input_ids"], **_types(found)})
    made = samples.done(numbers, pad_token(tokenizer))
    told.tokens = int(made.offsets[-1])
    return made, told


def words(
    tokenizer: Any, rows: Sequence[Sequence[str]], tags: Sequence[Sequence[int]], numbers: np.ndarray, length: int
) -> tuple[Sequences, Told]:
    """Samples with one label per word, on its first token; the word's other tokens carry no loss."""
    told, samples = Told(), Gathering()
    if not tokenizer.is_fast:
        raise DataError("tags of words need a fast tokenizer, which knows where each word begins.", "Take another one.")
    for start in range(0, len(rows), CHUNK):
        chunk = [list(row) for row in rows[start : start + CHUNK]]
        found = tokenizer(chunk, is_split_into_words=True, truncation=True, max_length=length, verbose=False)
        _count_cut(found, told, length)
        labels = [_on_first_token(found.word_ids(at), tags[start + at]) for at in range(len(chunk))]
        samples.many({"input_ids": found["input_ids"], "labels": labels, **_types(found)})
        told.learnt += sum(label != IGNORED for row in labels for label in row)
    made = samples.done(numbers, pad_token(tokenizer))
    told.tokens = int(made.offsets[-1])
    return made, told


def pad_token(tokenizer: Any) -> int:
    """The token that fills a batch: the tokenizer's own, else its end of text (the mask hides it), else 0."""
    for token in (getattr(tokenizer, "pad_token_id", None), getattr(tokenizer, "eos_token_id", None)):
        if token is not None:
            return int(token)
    return 0


def whole_texts(rows: Rows, column: str, keep_empty: bool = False) -> list[str]:
    """The column's texts. Raises DataError that names the first row without one, unless `keep_empty`."""
    found = []
    for at, cell in enumerate(rows.columns[column]):
        if isinstance(cell, str) and (cell.strip() or keep_empty):
            found.append(cell)
        elif cell is None and keep_empty:
            found.append("")
        else:
            held = "no text" if cell is None or cell == "" else f"{type(cell).__name__} instead of a text"
            raise DataError(
                f"row {rows.numbers[at]} of {rows.name} has {held} in the column {column!r}.",
                "Fill it, remove the row, or set missing_values to drop.",
            )
    return found


def _marked(tokenizer: Any, chunk: Sequence[Rendered]) -> Marked:
    """Tokens and labels of some rows."""
    if not tokenizer.is_fast:
        pieces = [_pieces(tokenizer, one) for one in chunk]
        found = [ids for ids, _ in pieces]
        learnt = np.fromiter(chain.from_iterable(marks for _, marks in pieces), dtype=bool)
    else:
        encoded = tokenizer(
            [one.text for one in chunk],
            add_special_tokens=not chunk[0].templated,
            return_offsets_mapping=True,
            verbose=False,
            **IDS_ALONE,
        )
        found = encoded["input_ids"]
        learnt = _inside(chunk, encoded["offset_mapping"])
    ids, lengths = flat(found), np.fromiter(map(len, found), dtype=np.int64)
    return _one_end(tokenizer.eos_token_id, ids, np.where(learnt, ids, IGNORED).astype(np.int32), lengths)


def _inside(chunk: Sequence[Rendered], places: Sequence[Sequence[tuple[int, int]]]) -> np.ndarray:
    """bool (tokens,): whether a token begins in a span of its row that is to be learnt, and is not empty.

    Rows lie on one line, a text's length apart; of spans in order of their beginning a token is in one of them where
    it begins before the furthest end of those that began.
    """
    starts, ends = np.fromiter(chain.from_iterable(chain.from_iterable(places)), dtype=np.int64).reshape(-1, 2).T
    bases = np.cumsum([0, *(len(one.text) + 1 for one in chunk)])
    spans = [
        (base + begin, base + end) for base, one in zip(bases[:-1], chunk, strict=True) for begin, end in one.learnt
    ]
    if not spans:
        return np.zeros(len(starts), dtype=bool)
    begins, furthest = np.array(sorted(spans), dtype=np.int64).T
    at = starts + np.repeat(bases[:-1], [len(row) for row in places])
    before = np.searchsorted(begins, at, side="right") - 1
    within = (before >= 0) & (at < np.maximum.accumulate(furthest)[before])
    return np.asarray(within & (ends > starts))


def _pieces(tokenizer: Any, one: Rendered) -> tuple[list[int], list[bool]]:
    """Tokens and whether each is to be learnt, for a tokenizer that does not tell places: span by span."""
    cuts = sorted({0, len(one.text), *(at for span in one.learnt for at in span)})
    ids: list[int] = []
    learnt: list[bool] = []
    for begin, end in pairwise(cuts):
        found = tokenizer(one.text[begin:end], add_special_tokens=begin == 0 and not one.templated)["input_ids"]
        ids += found
        learnt += [any(a <= begin < b for a, b in one.learnt)] * len(found)
    return ids, learnt


def _one_end(end: int | None, ids: np.ndarray, labels: np.ndarray, lengths: np.ndarray) -> Marked:
    """Without the second end-of-text token that a tokenizer adds behind ours."""
    lasts = np.cumsum(lengths)[lengths > 1] - 1
    doubled = lasts[(ids[lasts] == end) & (ids[lasts - 1] == end)] if end is not None else lasts[:0]
    fewer = np.zeros(len(lengths), dtype=np.int64)
    fewer[np.searchsorted(np.cumsum(lengths), doubled, side="right")] = 1
    return Marked(np.delete(ids, doubled), np.delete(labels, doubled), lengths - fewer)


def _types(found: Any) -> dict[str, Any]:
    """The token types, of a tokenizer that tells them."""
    return {"token_type_ids": found["token_type_ids"]} if "token_type_ids" in found else {}


def _on_first_token(words_of: Sequence[int | None], tags: Sequence[int]) -> list[int]:
    labels = [IGNORED] * len(words_of)
    before: int | None = None
    for at, word in enumerate(words_of):
        if word is not None and word != before:
            labels[at] = tags[word]
        before = word
    return labels


def _count_cut(found: Any, told: Told, length: int) -> None:
    """Counts the rows that lost their end."""
    encodings = found.encodings
    if encodings is None:
        cut = [len(ids) for ids in found["input_ids"] if len(ids) >= length]
        told.overlong += len(cut)
        return
    for encoding, ids in zip(encodings, found["input_ids"], strict=True):
        full = len(ids) >= length  # what is shorter lost nothing; a look at the rest copies every token
        rest = sum(len(part) for part in encoding.overflowing) if full else 0
        told.overlong += rest > 0
        told.longest = max(told.longest, len(ids) + rest)


def _chunks(items: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk

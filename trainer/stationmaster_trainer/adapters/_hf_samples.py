"""The rows of one part as samples of a model of Transformers, by the form that the columns were recognised as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import text
from ..dataset import Dataset
from ..datasettings import DataSettings
from ..errors import ConfigError, DataError
from . import _hf_chat, _hf_images, _hf_labels, _hf_sampled, _hf_tokens
from ._hf_columns import CAUSAL, IMAGE, SEQUENCE, Roles
from ._hf_rows import Rows
from ._hf_sequences import IGNORED, Gathering, Sequences, Windows
from ._hf_tokens import Marked, Told

_UNLIMITED = 1_000_000
"""Tokenizers without a limit of their own carry a huge one."""


@dataclass(frozen=True, eq=False)
class Part:
    """One part of the data, made into samples."""

    samples: Dataset
    told: Told = field(default_factory=Told)
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Maker:
    """Makes samples; one for both parts."""

    settings: DataSettings
    extra: Mapping[str, Any]
    model: Any
    """The model's configuration."""
    processor: Any
    """Tokenizer or image processor."""
    roles: Roles
    project: Path
    most: int | None = None
    """Rows (windows of a text) that are made into samples; None for all."""
    share: float = 1.0
    """Share of the rows that are tokenised and stand for all, where nothing is trained on them (`_hf_sampled`)."""

    def classes(self, rows: Rows) -> tuple[str, ...]:
        """Class names over a whole file, before it is divided; none for texts and numbers. DataError for odd labels."""
        if self.roles.kind == CAUSAL:
            return ()
        if "label" in self.roles.columns:
            return self._labels(rows, ()).classes
        columns = self.roles.columns
        return _hf_labels.tags(rows, columns["tags"], columns["words"], _head(self.model))[1]

    def __call__(self, rows: Rows, base: Path, classes: tuple[str, ...]) -> Part:
        """Samples of these rows. `base`: folder of the file; `classes`: those of the whole training file."""
        kind, form = self.roles.kind, self.roles.form
        if kind == CAUSAL and form == "text":
            return self.windows(_hf_tokens.whole_texts(rows, self.roles.columns["text"]), rows.name)
        chosen = self._chosen(len(rows))
        if kind == CAUSAL:
            return self._answers(rows, chosen)
        if kind == IMAGE:
            return self._pictures(rows, chosen, base, classes)
        return self._sentences(rows, chosen, classes) if kind == SEQUENCE else self._words(rows, chosen, classes)

    def _chosen(self, n: int) -> np.ndarray:
        """Positions that become samples: all, `most` of them evenly spaced, or those that stand for all.

        Classes are always those of all rows.
        """
        if self.share < 1:
            return _hf_sampled.drawn(n, self.share, self.settings.seed)
        return np.arange(n) if self.most is None or n <= self.most else np.arange(self.most) * n // self.most

    @property
    def length(self) -> int:
        """The context: `sequence_length`, not beyond what model and tokenizer can take. Raises ConfigError."""
        length = self.settings.sequence_length
        limits = {"model": getattr(self.model, "max_position_embeddings", None)}
        limits["tokenizer"] = getattr(self.processor, "model_max_length", None)
        for who, limit in limits.items():
            if isinstance(limit, int) and 0 < limit < min(length, _UNLIMITED):
                raise ConfigError(
                    f"sequence_length is {length}, and the {who} takes {limit} tokens at most.",
                    f"Set sequence_length to {limit} or less.",
                )
        return length

    @property
    def drops(self) -> bool:
        """Whether rows that are too long are left out instead of cut."""
        return bool(self.extra.get("overlong") == "drop")

    @property
    def writer(self) -> _hf_chat.Writer:
        """How prompts and conversations are written."""
        return _hf_chat.writer(self.processor, self.roles, self.extra.get("chat_template"))

    def windows(self, texts: list[str], name: str) -> Part:
        """Documents one behind the other, cut into windows of the context's length."""
        length = self.length
        if self.most is not None:
            texts = _beginning(texts, self.most * length * 12)
        found = text.windows(_hf_tokens.documents(self.processor, texts), length, name)
        windows = Windows(found.tokens, found.length, np.arange(1, len(found) + 1))
        return Part(windows, Told(tokens=len(windows) * length, learnt=len(windows) * (length - 1)))

    def _answers(self, every: Rows, chosen: np.ndarray) -> Part:
        rows = every.take(chosen)
        if len(rows) < len(every):
            self.writer.check(every)
        if self.roles.form == "input_ids":
            samples, told = self._given_ids(rows)
        else:
            rendered = self.writer.render(rows)
            samples, told = _hf_tokens.answers(self.processor, rendered, rows.numbers, self.length, self.drops)
        if not len(samples) and len(rows) < len(every):  # that is said of all rows, or of none
            return self._answers(every, np.arange(len(every)))
        if not len(samples):
            cut = f" within {self.length} tokens" if told.overlong else ""
            raise DataError(
                f"no token of {rows.name} carries loss: {told.silent + told.dropped:,} of {len(rows):,} rows have no "
                f"answer to learn{cut}.",
                "Raise sequence_length." if cut else "Every label is -100: look at the answers, roles and labels.",
            )
        return self._for_all(Part(samples, told), every, len(rows))

    def _given_ids(self, rows: Rows) -> tuple[Sequences, Told]:
        """Rows that are tokenised already: `input_ids`, maybe `labels`."""
        told, samples, kept = Told(), Gathering(), []
        cells = rows.columns[self.roles.columns["input_ids"]]
        tags = self.roles.columns.get("tags")
        given = cells if tags is None else rows.columns[tags]
        for start in range(0, len(cells), _hf_tokens.CHUNK):
            chunk = range(start, min(start + _hf_tokens.CHUNK, len(cells)))
            ids = [np.array(cells[at], dtype=np.int64) for at in chunk]
            labels = [np.array(given[at], dtype=np.int64) for at in chunk]
            for at, tokens, wanted in zip(chunk, ids, labels, strict=True):
                _check_ids(rows, at, tokens, wanted, int(self.model.vocab_size))
            lengths = np.array([len(row) for row in ids])
            marked = Marked(np.concatenate(ids, dtype=np.int32), np.concatenate(labels, dtype=np.int32), lengths)
            kept.append(_hf_tokens.take(samples, marked, told, self.length, self.drops))
        return samples.done(rows.numbers[np.concatenate(kept)], _hf_tokens.pad_token(self.processor)), told

    def _sentences(self, rows: Rows, chosen: np.ndarray, classes: tuple[str, ...]) -> Part:
        found = self._labels(rows, classes)
        second = self.roles.columns.get("text_pair")
        pairs = None if second is None else _hf_tokens.whole_texts(rows, second, keep_empty=True)
        texts = _hf_tokens.whole_texts(rows, self.roles.columns["text"])
        if len(chosen) < len(rows):
            at = chosen.tolist()
            texts, pairs = [texts[one] for one in at], None if pairs is None else [pairs[one] for one in at]
        samples, told = _hf_tokens.sentences(self.processor, texts, pairs, rows.numbers[chosen], self.length)
        part = Part(replace(samples, answers=found.values[chosen]), told, found.classes)
        return self._for_all(part, rows, len(chosen), found.values)

    def _for_all(self, part: Part, rows: Rows, seen: int, targets: np.ndarray | None = None) -> Part:
        """The part as it is, or where its `seen` rows stand for all `rows`: these by their texts, and estimates."""
        if self.share >= 1:
            return part
        unread = _hf_sampled.unread(self.roles, rows, targets)
        return Part(unread, part.told.standing_for(len(rows), seen), part.classes)

    def _words(self, rows: Rows, chosen: np.ndarray, classes: tuple[str, ...]) -> Part:
        words = self.roles.columns["words"]
        indices, names = _hf_labels.tags(rows, self.roles.columns["tags"], words, _head(self.model), classes)
        rows, indices = rows.take(chosen), [indices[at] for at in chosen.tolist()]
        texts = [[str(word) for word in row] for row in rows.columns[words]]
        samples, told = _hf_tokens.words(self.processor, texts, indices, rows.numbers, self.length)
        labels = samples.fields["labels"]
        counts = np.bincount(labels[labels != IGNORED], minlength=len(names))
        return Part(replace(samples, label_counts=counts), told, names)

    def _pictures(self, rows: Rows, chosen: np.ndarray, base: Path, classes: tuple[str, ...]) -> Part:
        found, rows = self._labels(rows, classes), rows.take(chosen)
        mode = "L" if getattr(self.model, "num_channels", 3) == 1 else "RGB"
        column = self.roles.columns["image"]
        pictures = _hf_images.of_rows(rows, column, base, self.project, found.values[chosen], self.processor, mode)
        pictures.check()
        return Part(pictures, classes=found.classes)

    def _labels(self, rows: Rows, classes: tuple[str, ...]) -> _hf_labels.Answers:
        task = self.settings.task if self.roles.kind == SEQUENCE else "classification"
        return _hf_labels.answers(rows, self.roles.columns["label"], task, _head(self.model), classes)


def _head(model: Any) -> tuple[str, ...]:
    """The classes of the model's head, in its order."""
    labels = getattr(model, "id2label", None) or {}
    return tuple(str(labels[key]) for key in sorted(labels, key=int))


def _beginning(texts: list[str], characters: int) -> list[str]:
    """The first texts, so many characters in all."""
    found: list[str] = []
    for each in texts:
        if characters <= 0:
            break
        found.append(each[:characters])
        characters -= len(each)
    return found


def _check_ids(rows: Rows, at: int, ids: np.ndarray, labels: np.ndarray, most: int) -> None:
    """Raises DataError for tokens that the model does not have."""
    where = f"row {rows.numbers[at]} of {rows.name}"
    if len(labels) != len(ids):
        raise DataError(f"{where} has {len(ids)} input_ids and {len(labels)} labels.", "Make them equally long.")
    bad = ids[(ids < 0) | (ids >= most)]
    wrong = labels[((labels < 0) & (labels != IGNORED)) | (labels >= most)]
    if len(bad) or len(wrong):
        what, value = ("input_ids", bad[0]) if len(bad) else ("labels", wrong[0])
        also = "" if len(bad) else ", and -100 for no loss"
        raise DataError(
            f"{where} holds {value} in {what}, out of range: the model knows 0 to {most - 1}{also}.",
            "Tokenise with this model's own tokenizer.",
        )

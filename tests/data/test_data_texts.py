"""Rows of texts and conversations are looked at before they are tokenised; sound ones raise no alarm."""

from __future__ import annotations

import inspect
import json
from typing import Any

import numpy as np
import pandas
import pytest
from data_files import Files, found

from stationmaster_trainer import texts
from stationmaster_trainer.adapters import _hf_look
from stationmaster_trainer.adapters._hf_columns import CAUSAL, SEQUENCE, Roles
from stationmaster_trainer.adapters._hf_rows import Rows
from stationmaster_trainer.facts import Finding


def real_texts() -> list[str]:
    """Docstrings of pandas' methods: real prose with shared turns of phrase; without those of one operator each, which
    differ in its name alone."""
    methods = (getattr(pandas.DataFrame, name, None) for name in dir(pandas.DataFrame) if not name.startswith("_"))
    every = {(inspect.getdoc(method) or "").split("\n\n")[0] for method in methods if callable(method)}
    return sorted(text for text in every if len(text) > 20 and not text.startswith("Get "))


def rows(**columns: list[Any]) -> Rows:
    n = len(next(iter(columns.values())))
    return Rows("t.jsonl", columns, np.arange(1, n + 1))


def look(train: Rows, val: Rows | None = None, form: str = "text", **columns: str) -> dict[str, Finding]:
    roles = Roles(SEQUENCE if form == "text" else CAUSAL, form, columns or {form: form}, ())
    return {finding.check: finding for finding in _hf_look.of(roles, train, val, True, None, None)}


def chat(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


GOOD = [chat(("system", "Be kind."), ("user", f"What is {at}?"), ("assistant", f"It is {at}.")) for at in range(30)]


def test_real_texts_raise_no_alarm() -> None:
    every = real_texts()
    assert len(every) > 80
    assert look(rows(text=every[::2]), rows(text=every[1::2])) == {}


def test_near_copies_of_texts_across_the_parts_are_told() -> None:
    every = [text for text in real_texts() if len(text.split()) > 12]
    copies = [text.upper().replace(".", "!") for text in every[:4]] + [every[5] + " Indeed."]
    found = look(rows(text=every), rows(text=copies))["near_overlap"]
    assert found.severity == "warning" and found.facts["samples"] >= 4
    assert found.facts["examples"][0] == ["val", 1, "train", 1]


def test_cut_long_and_badly_encoded_texts_are_told() -> None:
    body = " ".join(real_texts())
    every = [body[at * 50 : at * 50 + 30 + at % 17] for at in range(100)]
    assert not {"cut", "very_long", "encoding"} & set(look(rows(text=every)))
    cut = [body[at * 90 : at * 90 + 60].replace(".", "x") for at in range(10)]
    found = look(rows(text=[*every, *cut, "word " * 3000, "so schÃ¶n", "lost \ufffd letter", "nul \x00"]))
    assert "after exactly 60" not in str(found.get("cut")), "the longest is another now"
    assert found["very_long"].facts["examples"] == [["train", 111]]
    assert found["encoding"].facts["examples"] == [["train", 112], ["train", 113], ["train", 114]]
    assert " of 110 texts end in mid-sentence after exactly 60" in look(rows(text=[*every, *cut]))["cut"].message


def test_accents_umlauts_and_other_scripts_are_no_wrong_encoding() -> None:
    every = [
        "schöne Grüße",
        "Ünïcödé naïve café",
        "Ça va? À bientôt",
        "春眠暁を覚えず",
        "Привет, мир",
        "ÂGE",
        "a\tb\nc\r\n",
    ]
    assert "encoding" not in look(rows(text=every))


def test_conversations_in_order_are_silent() -> None:
    assert look(rows(messages=GOOD), form="messages") == {}
    shared = [[{"from": "human", "value": f"hi {at}"}, {"from": "gpt", "value": f"hello {at}"}] for at in range(9)]
    assert look(rows(messages=shared), form="messages") == {}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (chat(("assistant", "Hi."), ("user", "?"), ("assistant", "!")), "begin with the assistant"),
        (chat(("user", "Are you?")), "end with the user"),
        (chat(("user", "a"), ("user", "b"), ("assistant", "c")), "two turns of the same speaker"),
        (chat(("user", "a"), ("assistant", " ")), "hold an empty answer"),
        (chat(("user", "a"), ("system", "b"), ("assistant", "c")), "system message behind"),
    ],
)
def test_turns_out_of_order_are_named_with_their_row(bad: list[dict[str, str]], said: str) -> None:
    found = look(rows(messages=[*GOOD, bad]), form="messages")["turns"]
    assert said in found.message and "1 of 31" in found.message and found.facts["examples"] == [["train", 31]]


def test_a_prompt_with_two_answers_is_told() -> None:
    asked = [f"What is the capital of country {at}?" for at in range(20)]
    said = [f"City {at}." for at in range(20)]
    given = rows(prompt=[*asked, asked[3], asked[4]], completion=[*said, "Another.", said[4]])
    found = look(given, form="prompt", prompt="prompt", completion="completion")
    assert found["two_answers"].facts == {"rows": 1, "examples": [["train", 21, "train", 4]]}
    assert found["near_duplicates"].facts["examples"] == [["train", 22, "train", 5]]


def test_documents_and_times_of_rows_are_seen() -> None:
    document, day = [f"doc {at // 4}" for at in range(80)], [f"2024-01-{1 + at % 28:02}" for at in range(80)]
    train = rows(text=[str(at) for at in range(60)], document=document[:60], date=day[:60])
    val = rows(text=[str(at) for at in range(60, 80)], document=document[58:78], date=day[:20])
    found = look(train, val)
    assert found["groups"].facts["column"] == "document" and found["time"].facts["column"] == "date"


def test_repeated_paragraphs_of_a_plain_text_are_told_with_their_line(files: Files) -> None:
    every = [f"{text} ({at})" for at, text in enumerate(real_texts()) if len(text.split()) > 11]
    whole = "\n\n".join([*every, every[2].upper()])
    (finding,) = found(files.facts(files.write("t.txt", whole), "none", sequence_length=32), "near_duplicates")
    line = 1 + whole[: whole.index(every[2].upper())].count("\n")
    assert finding.facts["examples"] == [["train", line, "train", 1 + whole[: whole.index(every[2])].count("\n")]]
    silent = files.facts(files.write("u.txt", "\n\n".join(every)), sequence_length=32)
    assert not found(silent, "near_duplicates") and not found(silent, "near_overlap")


def test_looking_changes_no_text() -> None:
    given = [json.dumps(each) for each in GOOD] + ["", "\ud800"]
    assert list(texts.Looker().at(given)) == given

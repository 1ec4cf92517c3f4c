"""Takes what is secret out of text before it is written or said: known values, and what has the form of a key.

A safety net, not a promise: a password that looks like a word is found only by its value or by the name before it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

GONE = "[secret removed]"
NAME = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|AUTH|PRIVATE|(^|_)KEY$", re.IGNORECASE)
"""Names of variables whose values are secret."""
SHORTEST = 8
"""Characters below which a value is not looked for: it would be found everywhere."""
_FORMS = re.compile(
    r"(?P<url>(?<=://)[^/\s:@\"']{0,256}:[^/\s@\"']{1,256}(?=@)"
    r"|(?<=://)[A-Za-z0-9_-]{16,256}(?=@))"
    r"|\b(?:hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}"
    r"|sk-[A-Za-z0-9_-]{16,}|xox[abprs]-[A-Za-z0-9-]{10,}|AKIA[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,}|pypi-[A-Za-z0-9_-]{20,}"
    r"|npm_[A-Za-z0-9]{30,}|wandb_v1_[A-Za-z0-9_-]{16,}|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,})"
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[\s\S]{0,20000}?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)"
)
"""A user with a password (or a long token) in a URL, tokens of known services, JSON web tokens, private keys."""
_ASSIGNED = re.compile(
    r"(?i)((?:\b|_)(?:api_?key|access_?key|secret(?:_?key)?|token|passw(?:or)?d|credentials?|auth(?:orization)?)"
    r"[\"']?\s{0,8}(?:[:=]|:=)\s{0,8}(?:bearer\s+|basic\s+)?)"
    r"(?:\"[^\"\n]{8,400}\"|'[^'\n]{8,400}'|(?=[^\s\"',;()\[\]{}]{0,400}\d)[^\s\"',;()\[\]{}]{8,400})"
)
"""`api_key = "…"`, `Authorization: Bearer …`; without quotes only with a digit: `token = tokenizer(…)` is code."""
_GIVEN = re.compile(r"(?:^|\s)(?:--?([A-Za-z][\w-]{0,80})(?:=|\s{1,8})|([A-Za-z_]\w{0,80})=)[\"']?(\S{8,})")
"""`--api-key …`, `DATABASE_PASSWORD=…` in a command."""
_EXACT = re.compile(
    r"(?i)(?!(?:bos|eos|pad|unk|sep|cls|mask)_)(\w*_)?(token|secret|password|passwd|api_?key|access_?key|secret_key|"
    r"credentials?)"
)


def forms(text: str) -> str:
    """Without what has the form of a secret."""
    return _FORMS.sub(GONE, text) if len(text) >= SHORTEST else text


def text(value: str, known: Iterable[str] = ()) -> str:
    """Without the known values, without what has the form of a secret, and without what is assigned to such a name."""
    for secret in sorted(known, key=len, reverse=True):
        value = value.replace(secret, GONE)
    return _ASSIGNED.sub(rf"\1{GONE}", forms(value))


def values(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Values of the variables of this process whose names are those of secrets."""
    environ = os.environ if environ is None else environ
    return tuple(value for name, value in environ.items() if NAME.search(name) and len(value) >= SHORTEST)


def holds_secret(value: Any) -> bool:
    """Whether a text somewhere in plain values, however deep, has the form of a secret, or is given under its name."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str) and (
            _FORMS.search(one) or any(_named(m[1] or m[2], m[3]) for m in _GIVEN.finditer(one))
        ):
            return True
        if isinstance(one, Mapping):
            if any(_named(str(key), item) for key, item in one.items()):
                return True
            left += [*map(str, one), *one.values()]
        if isinstance(one, (list, tuple)):
            words = pairwise(one)
            if any(isinstance(name, str) and name[:1] == "-" and _named(name, item) for name, item in words):
                return True
            left += one
    return False


def _named(key: str, value: Any) -> bool:
    """Whether it stands under the name of a secret; special tokens of a tokenizer and references are none."""
    exact = _EXACT.fullmatch(key.lstrip("-").replace("-", "_"))
    return (
        bool(exact) and isinstance(value, str) and len(value) >= SHORTEST and not value.startswith(("<", "[", "$", "-"))
    )

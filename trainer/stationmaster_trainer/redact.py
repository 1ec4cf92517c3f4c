"""Takes what is secret out of text before it is written or said: known values, and what has the form of a key.

A safety net, not a promise: a password that looks like a word is found only by its value or by the name before it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
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


def holds_secret(value: Any, depth: int = 12) -> bool:
    """Whether a text somewhere in plain values has the form of a secret, or stands under the name of one."""
    if isinstance(value, str):
        return bool(_FORMS.search(value))
    if depth and isinstance(value, Mapping):
        return any(_named(str(key), item) or holds_secret(item, depth - 1) for key, item in value.items())
    if depth and isinstance(value, (list, tuple)):
        return any(holds_secret(item, depth - 1) for item in value)
    return False


def _named(key: str, value: Any) -> bool:
    exact = re.fullmatch(r"(?i)(\w*_)?(token|secret|password|passwd|api_?key|access_?key|credentials?)", key)
    return bool(exact) and isinstance(value, str) and len(value) >= SHORTEST and not value.startswith("<")

"""Whether Weights & Biases would be written online, offline or not at all, judged from what the user has set.

Standard library only: the server tells it when the backend is chosen, the recorder decides by it. No key is read out
here, only whether there is one. Not covered: whether the key is valid; W&B says that itself.
"""

from __future__ import annotations

import configparser
import netrc
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

DEFAULT_URL = "https://api.wandb.ai"
_KEYS = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
LOGIN = "set WANDB_API_KEY, or run `wandb login`"


@dataclass(frozen=True)
class Account:
    """How W&B is to be written."""

    mode: Literal["online", "offline", "disabled"]
    why: str
    """Reason when it is not online; empty when it is."""
    base_url: str
    """The W&B server."""


def account(env: Mapping[str, str]) -> Account:
    """From `WANDB_MODE`, `WANDB_DISABLED`, `WANDB_BASE_URL`, the key in the environment or in netrc, and W&B's settings
    file."""
    settings = _settings(env)
    url = (env.get("WANDB_BASE_URL") or settings.get("base_url") or DEFAULT_URL).rstrip("/")
    mode = (env.get("WANDB_MODE") or settings.get("mode") or "").strip().lower()
    if mode == "disabled" or env.get("WANDB_DISABLED", "").strip().lower() in ("true", "1", "yes"):
        return Account("disabled", "W&B is switched off (WANDB_MODE or WANDB_DISABLED)", url)
    if mode in ("offline", "dryrun"):
        return Account("offline", "WANDB_MODE is offline", url)
    if any(env.get(name) for name in _KEYS) or settings.get("api_key") or _in_netrc(env, url):
        return Account("online", "", url)
    return Account("offline", f"no W&B key was found: {LOGIN}", url)


def unreachable(url: str, seconds: float = 5.0) -> str:
    """Why the server of this URL cannot be reached, in a few words; empty when it answers, whatever it answers."""
    if urlsplit(url).scheme not in ("http", "https"):  # a file: would be opened like a page
        return f"{url[:100]!r} is no web address"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):  # nosec B310 # the scheme was looked at
            return ""
    except urllib.error.HTTPError:
        return ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return f"{urlsplit(url).hostname or url} cannot be reached ({reason})"


def _settings(env: Mapping[str, str]) -> dict[str, str]:
    """What `wandb login --host` and `wandb offline` have written."""
    folder = env.get("WANDB_CONFIG_DIR") or f"{env.get('HOME', '~')}/.config/wandb"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(Path(folder).expanduser() / "settings")
        return dict(parser["default"]) if parser.has_section("default") else {}
    except (OSError, configparser.Error, UnicodeDecodeError, RuntimeError):
        return {}


def _in_netrc(env: Mapping[str, str], url: str) -> bool:
    host, home = urlsplit(url).netloc, env.get("HOME", "~")
    places = [env["NETRC"]] if env.get("NETRC") else [f"{home}/.netrc", f"{home}/_netrc"]
    for place in places:
        try:
            found = netrc.netrc(str(Path(place).expanduser())).authenticators(host)
        except (OSError, netrc.NetrcParseError, UnicodeDecodeError, RuntimeError):
            continue
        if found and found[2]:
            return True
    return False

"""What this installation vouches for: plans that it wrote, approvals that a person gave, and run folders that it made.

A seal is an HMAC under a key that lies in the person's home and never in a project, so that a project which comes from
elsewhere cannot bring decisions or a person's yes with it, nor a run folder whose program is then resumed. Not covered:
somebody who can read the home of this person.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path

from stationmaster_trainer import codec, rundir
from stationmaster_trainer.errors import FormatError, RunError
from stationmaster_trainer.rundir import RunDir

KEY_BYTES = 32
COMPILED = "__pycache__"


def key_path() -> Path:
    """Not below XDG_STATE_HOME: a client may not pass that on, and terminal and server must agree."""
    return Path.home() / ".local" / "state" / "stationmaster" / "key"


def sign(*parts: str) -> str:
    """The seal over the parts, in hex; makes the key at the first time. RunError when it cannot be kept."""
    return _mac(_key(make=True), parts)


def valid(seal: str, *parts: str) -> bool:
    """Whether this installation sealed exactly these parts."""
    try:
        return bool(seal) and hmac.compare_digest(seal.encode(), _mac(_key(make=False), parts).encode())
    except (OSError, FormatError, RunError):
        return False


def seal_run(run: RunDir, name: str) -> None:
    """Writes `seal.json` into a run folder that is being made: hashes of what runs and of what was confirmed."""
    files = _hashes(run)
    text = json.dumps({"files": files, "mac": sign("run", name, _canonical(files))}, indent=1)
    rundir.create(run.seal, text.encode())


def require_sealed(run: RunDir) -> None:
    """RunError unless this installation made the run and nothing that runs was changed since.

    Compiled files that are not as they were are deleted: Python makes them again from the sealed sources.
    """
    why, compiled = _compared(run)
    for name in compiled:
        (run.path / name).unlink(missing_ok=True)
    if why:
        raise RunError(
            f"run {run.name} is not started: {why}, so its program may be anybody's.",
            f"Look at it, then start the same as a new run: stationmaster reproduce {run.name}.",
        )


def stranger(run: RunDir) -> str:
    """Why a run does not count as this installation's; empty when it does."""
    return _compared(run)[0]


def _compared(run: RunDir) -> tuple[str, list[str]]:
    """Why it is not this installation's (empty: it is), and the compiled files that are not as they were."""
    files = _sealed(run)
    if files is None:
        return "its seal is missing or is not this person's", []
    now = _hashes(run)
    odd = sorted(name for name in {*files, *now} if files.get(name) != now.get(name))
    compiled = [name for name in odd if COMPILED in Path(name).parts]
    sources = [name for name in odd if name not in compiled]
    return f"{sources[0]} is not as it was made" if sources else "", compiled


def _sealed(run: RunDir) -> dict[str, str] | None:
    try:
        plain = codec.parsed(rundir.read(run.seal), run.seal.name)
        files, mac = plain["files"], plain["mac"]
        if not isinstance(mac, str) or not valid(mac, "run", run.name, _canonical(files)):
            return None
        return {str(name): str(value) for name, value in files.items()}
    except (OSError, FormatError, TypeError, KeyError, AttributeError):
        return None


def _hashes(run: RunDir) -> dict[str, str]:
    """Relative path → SHA-256 of spec, checklist and every file of `lib/`; a link or a device is marked as one."""
    found = {}
    paths = [run.spec, run.checklist]
    for folder, folders, names in os.walk(run.lib):
        paths += [Path(folder, name) for name in names]
        paths += [Path(folder, name) for name in folders if Path(folder, name).is_symlink()]
    for path in paths:
        try:
            plain = not path.is_symlink()
            value = hashlib.sha256(rundir.read(path, 64 << 20)).hexdigest() if plain else "a link"
        except FileNotFoundError:
            continue
        except (OSError, FormatError):
            value = "not a plain file"
        found[path.relative_to(run.path).as_posix()] = value
    return found


def _canonical(files: object) -> str:
    return json.dumps(files, sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def _mac(key: bytes, parts: tuple[str, ...]) -> str:
    return hmac.new(key, json.dumps(parts).encode(), hashlib.sha256).hexdigest()


def _key(*, make: bool) -> bytes:
    path = key_path()
    try:
        if make and not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make(path)
        key = rundir.read(path, KEY_BYTES)
    except OSError as error:
        raise RunError(
            f"the key {path} cannot be kept: {error.strerror or error}.", "Give this person a home that can be written."
        ) from None
    if len(key) != KEY_BYTES:
        raise RunError(f"the key {path} is damaged.", "Remove it; runs made before cannot be resumed then.")
    return key


def _make(path: Path) -> None:
    """Puts a new key in place as a whole; of two that do it at once, the first one's stands."""
    draft = path.with_name(f".key.{secrets.token_hex(6)}")
    rundir.create(draft, secrets.token_bytes(KEY_BYTES))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()

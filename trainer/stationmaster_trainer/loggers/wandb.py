"""Weights & Biases: one W&B run for all attempts, online where key and network allow it, offline otherwise, and said.

What W&B has taken in cannot be cut back, so it is written anew from the streams at each opening. Offline a new folder
replaces the old one, and superseded rows are gone. Online W&B keeps what it has: rows up to its last step are left out,
so that none is doubled; for steps that a resumed attempt did again its page shows the first attempt's figures.
Not covered: errors of the W&B server in the middle of an upload, which the library keeps to itself.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import signal
from pathlib import Path
from typing import Any

from .. import codec, process, rundir, wandb_account
from ..contract import Record, Spec
from ..errors import FormatError, StationmasterError
from ..logfile import say
from ..rundir import RunDir
from ._logger import StepRows, config_of, ending_of, from_project, from_run, summary_of

INIT_SECONDS = 30.0
ANSWER_SECONDS = 20
"""How long W&B's own process may take to answer before it is ended and started again."""
FINISH_SECONDS = 300.0
"""How long an upload may take at the end; what is left then stays on the disk."""
AXIS = "train/global_step"


class WandbLogger:
    """Rows are joined by step, because W&B takes each step once."""

    def __init__(self, run: RunDir, spec: Spec) -> None:
        import wandb

        self._run, self._spec, self._rows, self._sent = run, spec, StepRows(), -1
        self._broken = False
        folder, id = _folder(run), _run_id(run)
        before = set(process.descendants(os.getpid()))
        self._page, self.message = _begin(wandb, _account(), id, folder, spec)
        self._service = set(process.descendants(os.getpid())) - before
        self._page.define_metric(AXIS)
        self._page.define_metric("*", step_metric=AXIS)
        self.online = not self._page.offline
        self._first = self._page.starting_step if self.online else 0
        kept = Path(self._page.dir).parent
        _remove_others(folder, id, kept)
        self.where = self._page.url if self.online else from_run(kept)

    def write(self, record: Record) -> None:
        row = self._rows.add(record)
        if row is not None:
            self._send(*row)

    def rewind(self, step: int) -> None:
        if self._sent > step:
            raise FormatError(f"W&B was given step {self._sent} before the run went back to step {step}")

    def flush(self) -> dict[str, Any]:
        """Asks W&B's process for the last row: it lives, and has taken everything before."""
        if self._sent >= 0:
            self._attempt(lambda: self._confirm())
        return {"online": self.online}

    def close(self) -> None:
        """Ends the W&B run with the run's final state. After a failure only W&B's process is ended."""
        import wandb

        if self._broken:
            self._kill()
            _teardown(wandb)
            return
        if (row := self._rows.rest()) is not None:
            self._send(*row)
        status = ending_of(self._run)
        if status is not None:
            self._page.summary.update(summary_of(status))
        good = status is not None and status.state in ("succeeded", "stopped")
        try:
            self._page.finish(exit_code=0 if good else 1)
        except TimeoutError:
            kept = shlex.quote(from_project(self._spec, Path(self._page.dir).parent))
            raise StationmasterError(
                f"W&B did not take everything within {FINISH_SECONDS:g} s.", f"`wandb sync {kept}` sends the rest."
            ) from None
        finally:
            _teardown(wandb)

    def _send(self, step: int, row: dict[str, Any]) -> None:
        if step >= self._first:
            self._attempt(lambda: self._page.log(row, step=step, commit=True))
            self._sent = step

    def _confirm(self) -> None:
        if self._page.summary.get(AXIS) is None:
            raise StationmasterError(f"W&B's own process has not answered for {ANSWER_SECONDS} s.")

    def _attempt(self, call: Any) -> None:
        try:
            call()
        except BaseException:
            self._broken = True
            raise

    def _kill(self) -> None:
        """Ends W&B's process: one that hangs would keep every further call."""
        for pid in self._service & set(process.descendants(os.getpid())):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


class OffLogger:
    """Nothing is written, because the user has switched W&B off."""

    where = ""
    state = "off"

    def __init__(self, message: str) -> None:
        self.message = message

    def write(self, record: Record) -> None: ...

    def rewind(self, step: int) -> None: ...

    def flush(self) -> dict[str, Any]:
        return {"online": False}

    def close(self) -> None: ...


def open(run: RunDir, spec: Spec, mark: dict[str, Any]) -> WandbLogger | OffLogger:
    if mark:
        raise FormatError("W&B cannot be cut back to a mark")
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    found = wandb_account.account(os.environ)
    if found.mode == "disabled":
        return OffLogger(found.why)
    import wandb

    try:
        return WandbLogger(run, spec)
    except BaseException:
        _teardown(wandb)
        raise


def forget(run: RunDir) -> None:
    """What is written next becomes a new W&B run."""
    run.wandb_run.unlink(missing_ok=True)


def _teardown(wandb: Any) -> None:
    """Lets go of W&B's process, so that the next opening starts a new one, whatever has become of the old one."""
    try:
        wandb.teardown()
    except (Exception, SystemExit) as error:  # it exits with the process's exit code if that is not 0
        say(f"wandb: its process is gone: {type(error).__name__}")


def _account() -> wandb_account.Account:
    """As the user has set it, and offline when the server does not answer."""
    found = wandb_account.account(os.environ)
    why = wandb_account.unreachable(found.base_url) if found.mode == "online" else ""
    return wandb_account.Account("offline", why, found.base_url) if why else found


def _begin(wandb: Any, account: wandb_account.Account, id: str, folder: Path, spec: Spec) -> tuple[Any, str]:
    """The W&B run, and why it is offline; a key that W&B refuses leads to offline, too."""
    if account.mode == "online":
        try:
            return _init(wandb, "online", id, folder, spec), ""
        except (wandb.errors.CommError, wandb.errors.AuthenticationError, wandb.errors.UsageError) as error:
            say(f"wandb: {error}")
            _teardown(wandb)
            account = wandb_account.Account("offline", f"W&B refused: {str(error)[:160]}", account.base_url)
    page = _init(wandb, "offline", id, folder, spec)
    kept = from_project(spec, Path(page.dir).parent)
    return page, f"offline, {account.why}; to upload: wandb sync {shlex.quote(kept)}"


def _init(wandb: Any, mode: str, id: str, folder: Path, spec: Spec) -> Any:
    wanted = {
        "mode": mode,
        "silent": True,
        "console": "off",
        "symlink": False,
        "init_timeout": INIT_SECONDS,
        "summary_timeout": ANSWER_SECONDS,
        "finish_timeout": FINISH_SECONDS,
        "finish_timeout_raises": True,
        "disable_git": True,
        "x_disable_stats": True,  # they would be the recorder's, not the training's
        "x_disable_meta": True,
        "x_disable_machine_info": True,
        "x_save_requirements": False,
    }
    known = wandb.Settings.model_fields
    return wandb.init(
        id=id,
        project=os.environ.get("WANDB_PROJECT") or _project(spec),
        name=os.environ.get("WANDB_NAME") or spec.config.run_name,
        dir=str(folder),
        config=config_of(spec),
        resume="allow" if mode == "online" else None,
        reinit="create_new",
        settings=wandb.Settings(**{name: value for name, value in wanted.items() if name in known}),
    )


def _run_id(run: RunDir) -> str:
    """The W&B run of this run, chosen once."""
    try:
        found = codec.parsed(rundir.read(run.wandb_run), str(run.wandb_run))["id"]
        if isinstance(found, str) and re.fullmatch(r"[a-z0-9]{8}", found):
            return found
    except (OSError, FormatError, KeyError, TypeError):
        pass
    id = secrets.token_hex(4)
    rundir.replace(run.wandb_run, codec.dumps({"id": id}).encode())
    return id


def _folder(run: RunDir) -> Path:
    """Where W&B keeps its files: `WANDB_DIR`, or the run's own folder. W&B makes `wandb/` in it.

    Raises OSError when it cannot be written; W&B would go to a temporary folder instead.
    """
    chosen = os.environ.get("WANDB_DIR")
    folder = Path(chosen).expanduser().absolute() if chosen else run.path.absolute()
    (folder / "wandb").mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(folder / "wandb", os.W_OK):
        raise PermissionError(f"{folder / 'wandb'} cannot be written")
    return folder


def _remove_others(folder: Path, id: str, kept: Path) -> None:
    """Removes what earlier openings of the same W&B run left: the kept one holds, or sends, all of it."""
    for path in (folder / "wandb").glob(f"*run-*-{id}*"):
        if path != kept and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def _project(spec: Spec) -> str:
    """The project's folder as a W&B project: without the characters that W&B refuses."""
    return re.sub(r"[/\\#?%:\s]+", "-", Path(spec.project_dir).name).strip("-")[:128] or "stationmaster"

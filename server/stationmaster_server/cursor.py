"""What an earlier look at a run had already shown, in one short string that the assistant hands back.

The server keeps nothing: two looks from two servers agree. A cursor holds no secret and is checked like any argument.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from stationmaster_trainer import contract
from stationmaster_trainer.errors import RunError

_FORM = re.compile(r"(\d{1,6}):(\d{1,12}):([a-z]{1,12}):(\d{1,15}):(\d{1,15}):(\d{1,9}):((?:[0-9a-f]{6})*)")


@dataclass(frozen=True)
class Cursor:
    """The newest of everything that a look had seen; zeros before the first."""

    attempt: int
    revision: int
    state: str
    eval_step: int
    """Step of the newest validation, 0 for none."""
    checkpoint_step: int
    """Step of the newest checkpoint, 0 for none."""
    alerts: int
    """Alert episodes so far (`Status.alerts_total`)."""
    open: tuple[str, ...] = ()
    """Marks of the alerts that were open."""

    @classmethod
    def of(cls, status: contract.Status) -> Cursor:
        """The cursor after a look at this status (that of a `RunView`, with the derived state)."""
        newest_eval = status.eval.step if status.eval else 0
        newest_checkpoint = status.checkpoint.step if status.checkpoint else 0
        marks = tuple(mark(alert) for alert in status.alerts_open)
        return cls(
            status.attempt, status.revision, status.state, newest_eval, newest_checkpoint, status.alerts_total, marks
        )

    @classmethod
    def parse(cls, text: str | None) -> Cursor | None:
        """Reads `str(cursor)`; None for nothing. RunError for anything else, naming it."""
        if text is None or not text.strip():
            return None
        match = _FORM.fullmatch(text.strip())
        if match is None:
            shown = text if len(text) <= 60 else text[:57] + "..."
            raise RunError(
                f"since {shown!r} is not a cursor of poll_status.",
                "Hand back the cursor of the last answer unchanged, or leave since out.",
            )
        attempt, revision, state, newest_eval, newest_checkpoint, alerts, marks = match.groups()
        opened = tuple(marks[at : at + 6] for at in range(0, len(marks), 6))
        return cls(int(attempt), int(revision), state, int(newest_eval), int(newest_checkpoint), int(alerts), opened)

    def __str__(self) -> str:
        numbers = f"{self.eval_step}:{self.checkpoint_step}:{self.alerts}"
        return f"{self.attempt}:{self.revision}:{self.state}:{numbers}:{''.join(self.open)}"

    def urgent(self, now: Cursor) -> bool:
        """Whether something happened that must be told at once: another state or attempt, or a change of the alerts."""
        mine = (self.attempt, self.state, self.alerts, self.open)
        return mine != (now.attempt, now.state, now.alerts, now.open)

    def differs(self, now: Cursor) -> bool:
        """Whether anything worth saying happened: the urgent, or a validation or checkpoint, as the plan had it."""
        routine = (self.eval_step, self.checkpoint_step)
        return self.urgent(now) or routine != (now.eval_step, now.checkpoint_step)


def mark(alert: contract.Alert) -> str:
    """Six hexadecimal digits for one alert at one severity: it changes when the alert worsens, not when it goes on."""
    return f"{zlib.crc32(f'{alert.rule}{alert.series} {alert.severity} {alert.first_step}'.encode()) & 0xFFFFFF:06x}"

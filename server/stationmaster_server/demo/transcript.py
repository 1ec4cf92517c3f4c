"""A conversation in print: who speaks, what is called, what comes back, and a progress line that stays in its place."""

from __future__ import annotations

import json
import shutil
import textwrap
from typing import Any, TextIO

from ..words import count, duration, number

WIDTH = 12
"""Columns of the speaker's name."""


class Transcript:
    """Writes to `out`; on a terminal names are coloured and the progress line is written over."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.live = out.isatty()
        self._last = ""
        self.width = max(60, min(shutil.get_terminal_size((120, 24)).columns, 120))

    def heading(self, text: str) -> None:
        """A title over a part of the conversation."""
        self._write(f"\n{self._tint(text, '1')}\n")

    def person(self, text: str) -> None:
        """What the person types."""
        self._say("person", text, "32")

    def assistant(self, text: str) -> None:
        """What the assistant says."""
        self._say("assistant", text, "36")

    def question(self, text: str) -> None:
        """What the server asks the person itself, through the client."""
        self._say("server asks", text, "33")

    def call(self, tool: str, arguments: dict[str, Any]) -> None:
        """A tool call."""
        told = ", ".join(f"{name}={json.dumps(value)}" for name, value in arguments.items())
        self._say("calls", f"{tool}({told})", "35")

    def tool(self, text: str, refused: bool = False) -> None:
        """What the tool gave back, as the model reads it."""
        self._say("refused" if refused else "tool", text, "31" if refused else "90", wrap=False)

    def progress(self, facts: dict[str, Any]) -> None:
        """One line about a running run."""
        step, total = facts.get("step") or 0, facts.get("total_steps") or 0
        full = int(24 * step / total) if total else 0
        parts = [
            f"{'█' * full}{'░' * (24 - full)} {count(step)}/{count(total)}",
            f"loss {number(facts.get('loss'))} (avg {number(facts.get('loss_average'))})",
            f"lr {number(facts.get('learning_rate'))}",
            f"grad norm {number(facts.get('grad_norm'))}",
            f"{number(facts.get('samples_per_second'))} samples/s",
            f"ETA {duration(facts.get('eta_seconds'))}",
        ]
        line = f"{'':{WIDTH}}{'  '.join(parts)}"
        if line == self._last:
            return
        self._last = line
        self._write(f"\r\033[K{line}" if self.live else f"{line}\n")

    def progress_done(self) -> None:
        """Ends the progress line."""
        if self.live:
            self._write("\n")

    def _say(self, who: str, text: str, tint: str, wrap: bool = True) -> None:
        lines = text.rstrip().splitlines() or [""]
        if wrap:
            lines = [part for line in lines for part in textwrap.wrap(line, self.width - WIDTH) or [""]]
        head = self._tint(f"{who:<{WIDTH}}", tint)
        self._write(f"{head}{lines[0]}\n" + "".join(f"{'':{WIDTH}}{line}\n" for line in lines[1:]))

    def _tint(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.live else text

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()

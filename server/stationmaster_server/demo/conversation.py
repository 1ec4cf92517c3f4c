"""The conversation of the demonstration. The person's and the assistant's lines are scripted; the tools are real."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stationmaster_trainer.errors import RunError, StationmasterError

from ..checklist import LOGGING_CHOICES, LOGGING_SENTENCE, QUESTION, VALIDATION_WARNING
from .chat import Chat, Reply
from .memory import Peaks
from .transcript import Transcript

CHANGES = {"epochs": 20}
"""What the person asks to change."""
FINAL = ("succeeded", "failed", "stopped", "lost")


@dataclass
class Outcome:
    """How the run ended."""

    run: str
    state: str = ""
    accuracy: float | None = None
    """On the validation split, at the last validation; in [0, 1]."""
    looks: int = 0
    """Looks at the run that an assistant would have taken."""
    memory: dict[str, int] = field(default_factory=dict)
    """Peak resident bytes by process."""


@dataclass
class Speaker:
    """Says and does the assistant's part in one project."""

    chat: Chat
    project: str
    transcript: Transcript
    peaks: Peaks

    async def do(self, tool: str, /, **arguments: Any) -> Reply:
        """Calls a tool and prints call and answer."""
        self.transcript.call(tool, arguments)
        reply = await self.chat.call(tool, project_dir=self.project, **arguments)
        self.peaks.look()
        self.transcript.tool(reply.text, reply.refused)
        return reply

    async def expect(self, tool: str, /, **arguments: Any) -> Reply:
        """The same for a call that must not be refused."""
        reply = await self.do(tool, **arguments)
        if reply.refused:
            raise RunError(f"{tool} was refused: {reply.text}")
        return reply


class UnexpectedError(StationmasterError):
    """A tool did not answer as the checklist promises."""


async def hold(chat: Chat, project: str, transcript: Transcript) -> Outcome:
    """From the first request to the summary. UnexpectedError or RunError when a tool does not keep the checklist."""
    speaker = Speaker(chat, project, transcript, Peaks(Path(project)))
    digest = await _gates(speaker)
    started = await speaker.expect("start_run", digest=digest)
    outcome = await _watch(speaker, str(started.facts["run"]))
    transcript.heading("The summary")
    await speaker.expect("summarize", run=outcome.run)
    outcome.memory = speaker.peaks.bytes
    return outcome


async def _gates(speaker: Speaker) -> str:
    """Up to the person's yes; returns the digest that they said yes to."""
    out = speaker.transcript
    out.heading("The request")
    out.person("Train the digit model in this folder.")
    await speaker.expect("inspect_project")
    out.heading("Gate 1: logging")
    out.assistant("A digit classifier in PyTorch, and labelled digits. I start the training right away.")
    refused = await speaker.do("start_run", digest="none yet")
    _promised(refused.refused and refused.text.startswith(LOGGING_SENTENCE), "start_run without logging", refused)
    out.assistant(f"{LOGGING_SENTENCE}\n{LOGGING_CHOICES}")
    out.person("File-based.")
    await speaker.expect("choose_logging", backends=["file"])
    out.heading("Gate 2: validation")
    warned = await speaker.do("check_validation")
    _promised(VALIDATION_WARNING in warned.text, "check_validation without data", warned)
    out.assistant(VALIDATION_WARNING)
    out.person("2, split it.")
    await speaker.expect("check_validation", split=True)
    out.heading("Gate 3: the configuration")
    shown = await speaker.expect("propose_config")
    _promised(QUESTION in shown.text, "propose_config", shown)
    out.assistant(QUESTION)
    out.person(f"{CHANGES['epochs']} epochs are enough. The rest is fine.")
    changed = await speaker.expect("propose_config", changes=CHANGES)
    _promised(changed.facts["digest"] != shown.facts["digest"], "propose_config with a change", changed)
    out.assistant(QUESTION)
    out.person("Yes.")
    out.heading("The run")
    return str(changed.facts["digest"])


async def _watch(speaker: Speaker, run: str) -> Outcome:
    """Looks at the run until its state is final; every look is a real `poll_status`.

    The live line looks every two seconds. Counted as read are only the looks at the pace that the tool asks for.
    """
    outcome, due = Outcome(run), 0.0
    arguments: dict[str, Any] = {"project_dir": speaker.project, "run": run, "since": "", "wait_seconds": 2}
    speaker.transcript.call("poll_status", {"run": run, "since": "<the last cursor>", "wait_seconds": 2})
    while outcome.state not in FINAL:
        reply = await speaker.chat.glance("poll_status", **arguments)
        if reply.refused:
            raise RunError(f"poll_status was refused: {reply.text}")
        arguments["since"], outcome.state = str(reply.facts["cursor"]), str(reply.facts["state"])
        if time.monotonic() >= due or outcome.state in FINAL:
            speaker.chat.keep("poll_status", arguments, reply)
            outcome.looks += 1
            due = time.monotonic() + (reply.facts.get("next_poll_seconds") or 0)
        speaker.peaks.look(run)
        speaker.transcript.progress(reply.facts)
    speaker.transcript.progress_done()
    speaker.transcript.tool(reply.text)
    metrics = (reply.facts.get("eval") or {}).get("metrics") or {}
    outcome.accuracy = metrics.get("accuracy")
    return outcome


def _promised(kept: bool, what: str, reply: Reply) -> None:
    if not kept:
        raise UnexpectedError(f"{what} did not answer as the checklist says: {reply.text}")

"""What a soak counts: kills by framework, target and phase, everything that must be zero, and the longest waits."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .book import Book

PHASES = ("start", "resume", "train", "eval", "save", "finish")
TARGETS = ("worker", "supervisor", "server", "all three")
MUST_BE_ZERO = {
    "false successes": "`succeeded` without the last step, the finished record and its verified checkpoint",
    "unreadable states": "a file that a reader loop found torn, or a state that it could not derive",
    "untrue states": "no true state within a minute of a death",
    "failed resumes": "resume_run refused, began behind the newest verified checkpoint, or its attempt failed",
    "overwritten results": "a file of an ended attempt or a finished run that changed afterwards",
    "orphan processes": "a process of a run that was still there a minute after its end",
    "differing runs": "a resumed run whose steps, validations, rows or weights are not those of the uninterrupted one",
}


@dataclass(frozen=True)
class Kill:
    """One stroke; `seconds` from the death to a true state (None: not found in time), `processes` killed."""

    framework: str
    target: str
    phase: str
    seconds: float | None
    processes: int


@dataclass
class Session:
    """One call of the soak, of perhaps several that an account comes from."""

    source: str
    """Of the code that was killed: `book.source`."""
    commit: str
    date: str
    seed: int
    lanes: int
    machine: str
    seconds: float = 0.0
    looks: int = 0
    """Files that the reader loops read."""
    loads: list[float] = field(default_factory=list)
    """Load of the machine at each kill: processes that wanted a core, of the last minute."""


@dataclass
class Account:
    """Shared by the lanes; what the book holds already is counted first."""

    wanted: dict[str, int]
    """Kills asked for, by framework."""
    book: Book = field(default_factory=lambda: Book(None))
    kills: list[Kill] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)
    """What must be zero and was not, with the evidence."""
    finished: Counter[str] = field(default_factory=Counter)
    """Runs that went to their end and were compared, by framework."""
    attempts: Counter[str] = field(default_factory=Counter)
    reconnects: list[float] = field(default_factory=list)
    """Seconds from the start of a new server to its first true answer."""
    sessions: list[Session] = field(default_factory=list)
    looks: int = 0
    """Files that the reader loops read in this session."""
    _begun: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        for line in self.book.lines():
            self._take(dict(line))

    def begin(self, session: Session) -> None:
        """From now on the session counts."""
        with self._lock:
            self._begun, self.looks = time.monotonic(), 0
            self._note("session", dataclasses.asdict(session))

    def killed(self, kill: Kill) -> None:
        """Notes a stroke."""
        with self._lock:
            self._note("kill", dataclasses.asdict(kill))
            took = "no true state" if kill.seconds is None else f"{kill.seconds:.2f} s"
            print(f"{len(self.kills):4d} {kill.framework}: {kill.target} in {kill.phase}, {took}", flush=True)

    def fault(self, what: str, evidence: str) -> None:
        """Notes something that must not be; the same evidence once."""
        with self._lock:
            if (what, evidence) not in self.faults:
                self._note("fault", {"what": what, "evidence": evidence})
                print(f"!! {what}: {evidence}", flush=True)

    def compared(self, framework: str, attempts: int) -> None:
        """Notes a run that went to its end and was compared with the uninterrupted one."""
        with self._lock:
            self._note("run", {"framework": framework, "attempts": attempts})

    def reconnected(self, seconds: float) -> None:
        """Notes how long a new server took to its first answer."""
        with self._lock:
            self._note("server", {"seconds": seconds})

    def _note(self, event: str, facts: dict[str, Any]) -> None:
        now = {"t": round(time.monotonic() - self._begun, 1), "load": round(os.getloadavg()[0], 1), "looks": self.looks}
        self.book.note(event, **facts, **({} if event == "session" else now))
        self._take({"event": event, **facts, **({} if event == "session" else now)})

    def _take(self, line: dict[str, Any]) -> None:
        """Counts one event."""
        event = line.pop("event")
        if event == "session":
            self.sessions.append(Session(**line))
            return
        t, load, looks = line.pop("t"), line.pop("load"), line.pop("looks")
        if self.sessions:
            here = self.sessions[-1]
            here.seconds, here.looks = max(here.seconds, t), max(here.looks, looks)
            here.loads += [load] if event == "kill" else []
        if event == "kill":
            self.kills.append(Kill(**line))
        elif event == "fault":
            self.faults.append((line["what"], line["evidence"]))
        elif event == "run":
            self.finished[line["framework"]] += 1
            self.attempts[line["framework"]] += line["attempts"]
        elif event == "server":
            self.reconnects.append(line["seconds"])

    def left(self, framework: str) -> int:
        """Kills still to be done."""
        with self._lock:
            return self.wanted[framework] - sum(kill.framework == framework for kill in self.kills)

    @property
    def complete(self) -> bool:
        """Whether every kill was done."""
        return all(self.left(framework) <= 0 for framework in self.wanted)

    @property
    def zeros(self) -> dict[str, int]:
        counted = Counter(what for what, _ in self.faults)
        return {what: counted[what] for what in MUST_BE_ZERO}

    @property
    def longest(self) -> float:
        """Longest time from a death to a true state, in seconds."""
        return max((kill.seconds for kill in self.kills if kill.seconds is not None), default=0.0)

    def lines(self) -> list[str]:
        """The account as Markdown."""
        head = ["framework", *PHASES, "kills", "runs compared", "attempts"]
        rows = []
        for framework in self.wanted:
            own = [kill for kill in self.kills if kill.framework == framework]
            phases = Counter(kill.phase for kill in own)
            ends = [len(own), self.finished[framework], self.attempts[framework]]
            rows.append([framework, *(str(phases[phase]) for phase in PHASES), *map(str, ends)])
        zeros = [[what, str(found), MUST_BE_ZERO[what]] for what, found in self.zeros.items()]
        targets = Counter(kill.target for kill in self.kills)
        told = ", ".join(f"{name} {targets[name]}" for name in TARGETS)
        processes = sum(kill.processes for kill in self.kills)
        waits = sorted(kill.seconds for kill in self.kills if kill.seconds and kill.target != "server")
        middle = waits[len(waits) // 2] if waits else 0.0
        looks = sum(session.looks for session in self.sessions)
        return [
            *table(head, rows),
            "",
            f"{len(self.kills)} kills ({told}), {processes} processes killed; {looks:,} files read meanwhile.",
            "",
            *table(["must be zero", "found", "what it means"], zeros),
            "",
            f"From a death to a true state: {middle:.2f} s in the middle, {self.longest:.2f} s at most. "
            f"From the start of a new server to its first answer: {max(self.reconnects, default=0.0):.1f} s at most.",
            "",
            *(_told(session) for session in self.sessions if session.loads),
        ]  # fmt: skip


def _told(session: Session) -> str:
    """One session in a line."""
    loads = sorted(session.loads)
    return (
        f"- {session.date}, {session.seconds / 60:.0f} minutes, {len(loads)} kills, {session.lanes} projects at once, "
        f"load {loads[len(loads) // 2]:.0f} in the middle and {loads[-1]:.0f} at most, seed {session.seed}; "
        f"commit {session.commit or '?'} (code {session.source}); {session.machine}."
    )


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]

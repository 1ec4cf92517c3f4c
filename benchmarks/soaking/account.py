"""What a soak counts: kills by framework, target and phase, everything that must be zero, and the longest waits."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

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
class Account:
    """Shared by the lanes."""

    wanted: dict[str, int]
    """Kills asked for, by framework."""
    kills: list[Kill] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)
    """What must be zero and was not, with the evidence."""
    finished: Counter[str] = field(default_factory=Counter)
    """Runs that went to their end and were compared, by framework."""
    attempts: Counter[str] = field(default_factory=Counter)
    looks: int = 0
    """Files that the reader loops read."""
    reconnects: list[float] = field(default_factory=list)
    """Seconds from the start of a new server to its first true answer."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def killed(self, kill: Kill) -> None:
        """Notes a stroke."""
        with self._lock:
            self.kills.append(kill)
            took = "no true state" if kill.seconds is None else f"{kill.seconds:.2f} s"
            print(f"{len(self.kills):4d} {kill.framework}: {kill.target} in {kill.phase}, {took}", flush=True)

    def fault(self, what: str, evidence: str) -> None:
        """Notes something that must not be; the same evidence once."""
        with self._lock:
            if (what, evidence) not in self.faults:
                self.faults.append((what, evidence))
                print(f"!! {what}: {evidence}", flush=True)

    def left(self, framework: str) -> int:
        """Kills still to be done."""
        with self._lock:
            return self.wanted[framework] - sum(kill.framework == framework for kill in self.kills)

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
        return [
            *table(head, rows),
            "",
            f"{len(self.kills)} kills ({told}), {processes} processes killed; {self.looks:,} files read meanwhile.",
            "",
            *table(["must be zero", "found", "what it means"], zeros),
            "",
            f"From a death to a true state: {middle:.2f} s in the middle, {self.longest:.2f} s at most. "
            f"From the start of a new server to its first answer: {max(self.reconnects, default=0.0):.1f} s at most.",
        ]  # fmt: skip


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]

"""The logger that keeps everything in lists: the fake of the seam, for tests and to see what a logger is given."""

from __future__ import annotations

from typing import Any

from ..contract import Record, Spec
from ..rundir import RunDir


class MemoryLogger:
    """`records` is what a real logger would show; `calls` is what was asked, in order."""

    def __init__(self, mark: dict[str, Any]) -> None:
        self.where = "memory"
        self.records: list[Record] = []
        self.calls: list[str] = [f"open {mark}"]

    def write(self, record: Record) -> None:
        self.records.append(record)

    def rewind(self, step: int) -> None:
        self.calls.append(f"rewind {step}")
        self.records = [record for record in self.records if getattr(record, "step", 0) <= step]

    def flush(self) -> dict[str, Any]:
        return {"records": len(self.records)}

    def close(self) -> None:
        self.calls.append("close")


def open(run: RunDir, spec: Spec, mark: dict[str, Any]) -> MemoryLogger:
    return MemoryLogger(mark)

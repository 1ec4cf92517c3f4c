"""The largest micro-batch that fits while the effective batch stays: memory as a line over the batch, verified once.

Peak memory = base + per_sample · batch, measured with small batches in a fresh process each. On the CPU it is resident
memory, which counts libraries and what the allocator does not give back. Not covered: fragmentation over a long run,
and what other programs will take meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..facts import BatchFacts, Request
from .stage import Part, Stage, opened, said

ROOM = 0.9
"""Share of the free memory that is planned with."""
SHARES = (8, 4, 2)
"""Parts of the effective batch that are measured."""
NOISE = 4 << 20
"""Bytes by which the resident memory of two processes that do the same may differ."""


def batch_size(request: Request, work: Path | None = None) -> BatchFacts:
    """Raises RunError when the device is taken, ModelError's like when not even the smallest batch could be tried."""
    with opened(request, work) as stage:
        return largest(stage)


def largest(stage: Stage, below: int | None = None) -> BatchFacts:
    """`below`: a micro-batch that is known not to fit."""
    effective = stage.config.batch_size * stage.config.gradient_accumulation
    points: dict[int, int] = {}
    failed = {below} if below else set()
    device, free = "", None
    for size in sorted({max(1, effective // share) for share in SHARES}):
        if failed and size >= min(failed):
            break
        part = _measure(stage, size)
        if part.failure is not None:
            if part.failure.cause != "oom":
                _raise(part)
            failed.add(size)
            break
        points[size] = int(part.seen["peak_memory"] or 0)
        device, free = str(part.seen["device"]), part.seen["room"]
    base, slope = line(sorted(points.items()))
    wanted = [size for size in divisors(effective) if not failed or size < min(failed)]
    fitting = [size for size in wanted if free is None or base + slope * size <= ROOM * free]
    chosen, verified = (max(fitting) if points and fitting else 0), None
    if chosen and chosen not in points:
        part = _measure(stage, chosen)
        if part.failure is None and (free is None or int(part.seen["peak_memory"] or 0) <= free):
            verified = int(part.seen["peak_memory"] or 0)
        else:
            failed.add(chosen)
            chosen = max((size for size in points if effective % size == 0), default=0)
    return BatchFacts(
        device=device,
        points=tuple(sorted(points.items())),
        base=int(base),
        per_sample=slope,
        free_memory=free,
        effective=effective,
        batch_size=chosen,
        gradient_accumulation=effective // chosen if chosen else 0,
        verified=verified,
        failed=tuple(sorted(failed)),
        beside=stage.beside,
    )


def line(points: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """(base, per sample) by least squares; no slope where the points differ by noise alone, or there is one only."""
    if not points:
        return 0.0, 0.0
    most = max(memory for _, memory in points)
    if len(points) < 2 or most - min(memory for _, memory in points) <= NOISE:
        return float(most), 0.0
    n = len(points)
    x, y = sum(size for size, _ in points) / n, sum(memory for _, memory in points) / n
    slope = sum((size - x) * (memory - y) for size, memory in points) / sum((size - x) ** 2 for size, _ in points)
    return y - max(0.0, slope) * x, max(0.0, slope)


def divisors(number: int) -> list[int]:
    """Of it, in order: a micro-batch must divide the effective batch."""
    return [size for size in range(1, number + 1) if number % size == 0]


def _measure(stage: Stage, size: int) -> Part:
    said(f"batch_size {size}")
    spec = stage.spec(f"memory-{stage.parts}", batch_size=size, gradient_accumulation=1, log_every=1)
    return stage.play(spec, "memory")


def _raise(part: Part) -> None:
    """What is no matter of memory, as the error of this request."""
    from ..errors import ModelError

    failure = part.failure
    assert failure is not None  # the caller has looked
    raise ModelError(f"{failure.message} ({failure.where or failure.error})", failure.way_out)

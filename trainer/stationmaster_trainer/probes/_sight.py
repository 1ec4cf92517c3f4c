"""How much is seen of a script that runs as it is: the levels of sight by name, and the sentence for a person."""

from __future__ import annotations

from collections.abc import Sequence

LEVELS = {
    "full": "the script reports to stationmaster itself",
    "library": "its library tells",
    "loop": "read off its training loop",
    "files": "read from the files that it writes",
    "output": "its output alone",
}
"""Level → what it rests on, the widest sight first."""
NOT_RESUMED = "resume_run: not available, checkpoints are the script's own"
NO_OPTIMIZER = "resume_run: not available, this script saves no optimizer"


def words(level: str, source: str, seen: Sequence[str], unseen: Sequence[str] = (), resume: str = NOT_RESUMED) -> str:
    """`loop (PyTorch): steps and loss, read off its training loop. Not seen: total steps. resume_run: …`.

    Raises KeyError for a level that has no name.
    """
    parts = [f"{level} ({source}): {_listed(seen)}, {LEVELS[level]}"]
    parts += [f"Not seen: {_listed(unseen)}"] if unseen else []
    return ". ".join([*parts, resume]) + "."


def _listed(names: Sequence[str]) -> str:
    """`a, b and c`; `nothing` when there is none."""
    if len(names) < 2:
        return "".join(names) or "nothing"
    return f"{', '.join(names[:-1])} and {names[-1]}"

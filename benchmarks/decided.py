"""What was decided about the misses and false alerts of the early warnings, kind by kind of the made logs."""

from __future__ import annotations

ABOUT: dict[str, str] = {
    "constant_under_noise": (
        "A loss that scatters by a third from point to point and happens to fall in its first five: in 120 points the "
        "rule cannot tell that from learning. Kept: without a look at the first points it would call every fast start "
        "that flattens out a run that learns nothing. A chance excursion that is called a spike as well is harmless."
    ),
    "gentle_fine_tune": (
        "A fine-tuning that improves by less than its noise within the run. The figures are those of a rate far "
        "too low, and the alert names them; only validation tells the two apart. Kept, because the opposite error "
        "costs whole runs."
    ),
    "heavy_tailed_batches": (
        "One point in a thousand lies far out by construction. The bar follows the largest excursion of the past, so "
        "that each further one must be larger; the first of its size is told. Kept: it is what a spike looks like, "
        "and it clears by itself."
    ),
    "heavy_tails_near_zero": (
        "A loss of a hundredth of its start jumps for one point to nearly the start. In an interpolated model this is "
        "one hard sample. Kept as a warning: the same point precedes real breakdowns, and the record names the rows of "
        "its batch, so that a look decides."
    ),
    "noisy_small_batches": (
        "A batch of few samples beyond every excursion before it. Kept: a wider bar loses small spikes of quiet runs."
    ),
    "a_row_an_epoch": (
        "Validation rises for eight epochs while the training loss falls, nine per cent above its best and beyond its "
        "noise, and the truth drawn for this log is that it would have come back. Kept: nobody should wait longer."
    ),
    "mixture_of_tasks": (
        "The tasks of a mixture take turns, and a turn to a harder one stays for longer than any turn before it. Kept: "
        "from the curve alone this is a divergence; the advice to look whether the data changed is the right one."
    ),
    "discriminator": (
        "The loss of an adversary swings slowly and for ever. A swing higher than all before it is called a divergence "
        "and taken back when it returns. Kept: a bar for swings that never came yet would be a bar for divergences."
    ),
    "two_cadences": (
        "Two series logged at different paces; the sparse one seems flat until it has enough points. Taken back by "
        "itself. Kept."
    ),
    "overfitting_slow": (
        "Validation rises by less than three times its noise within the run. Kept: at that height half of the healthy "
        "fine-tunings would be called overfitting."
    ),
    "collapse_to_the_start": (
        "The jump itself is told at once, as a spike; that the loss stays there takes ten points more."
    ),
    "divergence_exponential": "A slow climb is believed when it has lasted: sooner, every swing would be one.",
}
BY_WHAT = {
    "missed": "Looked at: the fault lies within what the rule must allow a healthy run. Kept.",
    "another class": "The fault was named; the other class is a chance excursion of the same series. Kept.",
    "late": "Found, after more points than usual, because the change grew slowly out of the noise. Kept.",
}


def about(kind: str, what: str) -> str:
    """The decision on a log of this kind, of which `what` was wrong."""
    return ABOUT.get(kind) or BY_WHAT.get(what, "An excursion beyond all before it in this run. Kept: it is told once.")

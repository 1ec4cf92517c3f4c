"""Numbers in words, curves as text and as SVG."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import pytest

from stationmaster_server import words
from stationmaster_server.charts import BARS, Scale, plot, sparkline
from stationmaster_server.drawing import Mark, Picture, svg
from stationmaster_server.series import Thinner


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (2.3, "2.3"),
        (0.4123, "0.412"),
        (8.1e-4, "0.00081"),
        (4.123e-7, "4.12e-7"),
        (1e-4, "0.0001"),
        (12345.6, "12,346"),
        (3.2e9, "3.2e9"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
    ],
)
def test_a_number_has_three_significant_digits_and_no_needless_zeros(value: float | None, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0s"),
        (45, "45s"),
        (59.7, "1m"),
        (192, "3m 12s"),
        (7500, "2h 5m"),
        (3600, "1h"),
        (273600, "3d 4h"),
        (None, "–"),
        (math.inf, "–"),
    ],
)
def test_a_duration_names_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


def test_the_reports_hours_and_minutes_say_seconds_only_while_minutes_say_too_little() -> None:
    assert words.hours_minutes(23) == "0h 0m (23s)"
    assert words.hours_minutes(7505) == "2h 5m"


def test_a_loss_has_the_checklists_three_decimals_unless_they_would_hide_it() -> None:
    assert (words.loss(0.41234), words.loss(0.0471), words.loss(0.00123)) == ("0.412", "0.047", "0.00123")


def test_a_hundred_percent_means_all_of_it() -> None:
    assert words.percent(999, 1000) == "99 %"
    assert words.percent(1000, 1000) == "100 %"


def test_a_falling_curve_falls_in_the_sparkline_and_a_nan_is_a_cross() -> None:
    line = sparkline([3.0, 2.5, 2.0, math.nan, 1.0, 0.9])
    heights = [BARS.index(bar) for bar in line if bar != "×"]
    assert heights == sorted(heights, reverse=True)
    assert line[3] == "×"
    assert (line[0], line[-1]) == ("█", "▁")


@pytest.mark.parametrize("values", [[], [math.nan] * 3, [0.0], [5.0] * 100, [-1.0, 1.0], [1e-300, 1e300]])
def test_a_sparkline_has_an_answer_for_every_curve(values: list[float]) -> None:
    assert len(sparkline(values, 16)) == min(16, len(values))


def test_a_range_of_more_than_twenty_is_logarithmic_and_one_that_reaches_zero_is_not() -> None:
    wide, to_zero = Scale.of([0.01, 2.0]), Scale.of([0.0, 2.0])
    assert wide is not None and wide.log
    assert to_zero is not None and not to_zero.log


def test_thinning_keeps_the_extremes_and_the_mean_of_a_series_of_any_length() -> None:
    thinner = Thinner(50)
    values = [1.0 + (step % 7) / 10 for step in range(1, 10_001)]
    values[6543] = 99.0
    for step, value in enumerate(values, 1):
        thinner.add(step, value)
    assert 50 <= len(thinner.buckets) <= 100
    assert max(high for _, _, high in thinner.band()) == 99.0
    assert min(low for _, low, _ in thinner.band()) == 1.0
    assert sum(b.loss * b.weight for b in thinner.buckets) == pytest.approx(sum(values))
    steps = [step for step, _ in thinner.points()]
    assert steps == sorted(set(steps)) and steps[-1] == 10_000


def test_thinning_never_lets_a_nan_into_a_mean() -> None:
    thinner = Thinner(1)
    for step, value in enumerate([math.nan, 2.0, math.nan, 4.0], 1):
        thinner.add(step, value)
    assert all(math.isfinite(bucket.loss) and bucket.broken for bucket in thinner.buckets)


def test_the_plot_shows_both_curves_and_where_the_loss_broke() -> None:
    drawn = plot([(1, 2.0), (2, 1.0), (3, math.nan)], [(2, 1.5)], width=20, height=6)
    assert "·" in drawn and "o validation loss" in drawn and "×" in drawn and "step 3" in drawn
    assert plot([(1, math.nan)], []) == "(no finite loss was recorded)"


def picture(**changes: object) -> Picture:
    train = [(step, 2.3 * math.exp(-step / 20)) for step in range(1, 101)]
    options: dict[str, object] = {
        "title": "digits-01",
        "train": train,
        "band": [(step, value * 0.8, value * 1.2) for step, value in train],
        "validation": [(50, 0.3), (100, 0.2)],
        "best": (100, 0.2),
        "marks": [Mark(30, "loss_spike", "warning")],
        "resumed": [50],
        "bad_steps": [31],
        "total_steps": 100,
    }
    return Picture(**{**options, **changes})  # type: ignore[arg-type]


def test_the_svg_is_well_formed_and_holds_curves_alert_resume_and_scale() -> None:
    text = svg(picture())
    ElementTree.fromstring(text)
    for expected in ("train loss", "validation loss", "loss_spike", "resumed at 50", "logarithmic scale"):
        assert expected in text
    assert "nan" not in text.lower()


def test_hostile_names_stay_text_in_the_svg() -> None:
    text = svg(picture(title="<script>alert(1)</script>", marks=[Mark(5, "a&b<c", "critical")]))
    root = ElementTree.fromstring(text)
    assert not [element for element in root.iter() if element.tag.endswith("script")]


@pytest.mark.parametrize(
    "changes",
    [
        {"train": [], "band": [], "validation": [], "best": None},
        {"train": [(1, math.nan)], "band": [(1, math.nan, math.nan)], "validation": [], "best": None},
        {"train": [(1, 0.0)], "band": [(1, 0.0, 0.0)], "validation": [], "best": None},
        {"train": [(1, 1e-8), (2, 1e8)], "band": [], "validation": [(2, math.inf)], "best": None},
    ],
)
def test_the_svg_has_an_answer_for_runs_without_curves(changes: dict[str, object]) -> None:
    ElementTree.fromstring(svg(picture(**changes)))

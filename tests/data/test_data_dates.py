"""Dates stand in the order of time however they are written."""

from __future__ import annotations

import datetime as calendar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stationmaster_trainer import dates

DAYS = st.lists(st.dates(calendar.date(1971, 1, 1), calendar.date(2068, 12, 31)), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(DAYS, st.sampled_from(["%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%Y-%m-%dT00:00:00Z", "%d.%m.%y"]))
def test_every_way_of_writing_gives_the_same_seconds(days: list[calendar.date], form: str) -> None:
    truth = [calendar.datetime(day.year, day.month, day.day, tzinfo=calendar.timezone.utc).timestamp() for day in days]
    assert dates.seconds(tuple(day.strftime(form) for day in days)).tolist() == truth


@pytest.mark.parametrize(
    ("texts", "order"),
    [
        (("31/12/2020", "01/02/2021"), [0, 1]),  # day first, as the 31 says
        (("12/30/2020", "02/01/2021"), [0, 1]),
        (("2021-1-9", "2021-1-10"), [0, 1]),
        (("2021-01-01 11:00 PM", "2021-01-01 01:00 AM"), [1, 0]),
        (("2021-01-01T10:00:00+02:00", "2021-01-01T09:00:00Z"), [0, 1]),
        (("2021-01-01 10:00:00.5", "2021-01-01 10:00:00.25"), [1, 0]),
        (("2021-01-01 10:00:00-0500", "2021-01-01 14:00:00"), [1, 0]),
    ],
)
def test_the_order_is_that_of_time(texts: tuple[str, ...], order: list[int]) -> None:
    assert np.argsort(dates.seconds(texts)).tolist() == order


def test_what_is_no_date_is_no_number() -> None:
    assert np.isnan(dates.seconds(("2021-02-30", "soon", "2021-13-01"))).tolist() == [True, True, True]
    assert np.isnan(dates.seconds(("2021-02-30", "2021-02-28"))).tolist() == [True, False]

import bisect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent._native.busloop import HISTOGRAM_LIMITS_US, Histogram
from agent.acquire.statistics import Mishap, Spans, mishap_of, spans_of
from agent.model import WallClock

CLOCK = WallClock(1_000_000_000_000_000_000, 2, 1)
MISHAPS = [
    ((5_000_000, 1, 0, b""), "no answer", ""),
    ((5_000_000, 2, 0, b"\x01\x03"), "a piece of an answer", "01 03"),
    ((5_000_000, 4, 2, b"\x01\x83\x02"), "exception 2: illegal data address", "01 83 02"),
    ((5_000_000, 4, 99, b""), "exception 99: no code of the standard", ""),
]


def histogram(spans: list[int]) -> tuple[int, ...]:
    made = Histogram()
    for span in spans:
        made.add(span)
    return made.counts()


@given(st.lists(st.integers(-(10**12), 10**12), max_size=50))
def test_every_span_is_in_the_class_of_its_time(spans):
    expected = [0] * len(HISTOGRAM_LIMITS_US)
    for span in spans:
        us = max(span, 0) // 1000
        expected[min(bisect.bisect_right(HISTOGRAM_LIMITS_US, us), len(expected) - 1)] += 1
    assert list(histogram(spans)) == expected


@given(st.lists(st.integers(32_000, 30 * 10**9), min_size=1))
def test_a_quantile_is_off_by_a_quarter_at_most(spans):
    seen = spans_of(histogram(spans))
    ordered = sorted(spans)
    for figure, exact in ((seen.p50, ordered[(len(spans) - 1) // 2]), (seen.most, ordered[-1])):
        assert exact / 1e6 <= figure <= exact / 1e6 * 1.25 + 0.001


def test_without_a_span_there_is_no_quantile():
    assert spans_of(histogram([])) is None


def test_few_slow_answers_show_in_p99_and_not_in_p50():
    assert spans_of(histogram([5_000_000] * 97 + [900_000_000] * 3)) == Spans(5.12, 917.504, 917.504)


@pytest.mark.parametrize(("noted", "what", "heard"), MISHAPS)
def test_a_mishap_is_told_in_words_with_its_time_and_its_bytes(noted, what, heard):
    assert mishap_of(noted, CLOCK) == Mishap(1_000_000_000.005, what, heard)


def test_a_device_without_a_mishap_has_none():
    assert mishap_of((0, 0, 0, b""), CLOCK) is None

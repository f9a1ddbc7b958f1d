"""The edge step: what is kept and what is not, driven by the published dead band vectors and by a slow reference."""

import json
import math
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import RECORD

from agent._native.filter import Filter
from agent._native.samples import Samples
from agent.model import DeadbandKind, Quality, Tag, ValueType
from agent.process.filters import compile_filter

MS = 1_000_000
VECTORS = Path(__file__).parent.parent / "vectors" / "filters.json"
KINDS = {"absolute": DeadbandKind.ABSOLUTE, "percent_value": DeadbandKind.PERCENT}
# Minimum interval, PI's previous value and percent of range are rules of later filters, not of the dead band itself.
OUR_PARAMETERS = {"kind", "value", "max_ms"}
QUALITIES = {0: Quality.GOOD, 1: Quality.SUBSTITUTED, 2: Quality.COMM_FAIL}


def cases():
    family = json.loads(VECTORS.read_text())["families"]["deadband"]["cases"]
    return [
        case
        for case in family
        if set(case["params"]) <= OUR_PARAMETERS and case["params"].get("kind") != "percent_range"
    ]


def record(tag: int, t_ms: int, value: float, quality: Quality = Quality.GOOD) -> bytes:
    raw = struct.unpack("=Q", struct.pack("=d", value))[0] if quality.has_value else 0
    return RECORD.pack(t_ms * MS, raw, tag, 0, ValueType.F64, quality, 0, 0)


def integer(t_ms: int, value: int, type_: ValueType = ValueType.I64) -> bytes:
    return RECORD.pack(t_ms * MS, value % 2**64, 0, 0, type_, Quality.GOOD, 0, 0)


def kept_times_ms(tag: Tag, records: list[bytes]) -> list[int]:
    samples = Samples(b"".join(records))
    compile_filter([tag]).apply(samples)
    return [RECORD.unpack(row)[0] // MS for row in rows(samples)]


def rows(samples: Samples) -> list[bytes]:
    raw = bytes(samples)
    return [raw[i : i + RECORD.size] for i in range(0, len(raw), RECORD.size)]


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["id"])
def test_dead_band_vectors(case):
    params = case["params"]
    tag = Tag(
        0, "b/d/t", ValueType.F64,
        deadband=KINDS[params.get("kind", "absolute")],
        deadband_value=params["value"],
        heartbeat_ns=params.get("max_ms", 0) * MS,
    )  # fmt: skip
    records = [record(0, t, float(v), QUALITIES[q]) for t, v, q in case["input"]]
    assert kept_times_ms(tag, records) == [case["input"][index][0] for index, _ in case["expect"]]


def test_the_vector_file_still_has_the_cases_this_filter_stands_on():
    assert len(cases()) >= 7


def test_a_tag_without_a_dead_band_keeps_every_value():
    tag = Tag(0, "b/d/t", ValueType.F64)
    assert kept_times_ms(tag, [record(0, t, 1.0) for t in range(5)]) == [0, 1, 2, 3, 4]


def test_a_failing_device_is_told_once_and_again_when_it_is_back():
    tag = Tag(0, "b/d/t", ValueType.F64)
    states = [Quality.GOOD, Quality.COMM_FAIL, Quality.COMM_FAIL, Quality.EXCEPTION, Quality.EXCEPTION, Quality.GOOD]
    records = [record(0, t, 1.0, quality) for t, quality in enumerate(states)]
    assert kept_times_ms(tag, records) == [0, 1, 3, 5]


def test_a_heartbeat_sends_the_fresh_sample_even_of_a_failing_device():
    tag = Tag(0, "b/d/t", ValueType.F64, deadband=DeadbandKind.ABSOLUTE, deadband_value=5.0, heartbeat_ns=100 * MS)
    records = [record(0, t, 1.0 + t / 1000, Quality.GOOD) for t in range(0, 250, 10)]
    assert kept_times_ms(tag, records) == [0, 100, 200]
    failing = [record(0, t, 0.0, Quality.COMM_FAIL) for t in range(0, 250, 10)]
    assert kept_times_ms(tag, failing) == [0, 100, 200]


def test_scale_applies_before_the_threshold_and_offset_before_the_percentage():
    tag = Tag(0, "b/d/t", ValueType.U16, 0.1, 100.0, "", DeadbandKind.PERCENT, 1.0)
    # 100.0 +- 1 %: raw 10 is exactly 1.0 away and not strictly greater, raw 11 is.
    assert kept_times_ms(tag, [integer(t, v, ValueType.U16) for t, v in enumerate([0, 10, 11, 0])]) == [0, 2, 3]


def test_counters_beyond_2_to_53_are_told_apart():
    tag = Tag(0, "b/d/t", ValueType.U64, deadband=DeadbandKind.ABSOLUTE, deadband_value=0.0)
    big = 2**63 + 5
    records = [integer(t, v, ValueType.U64) for t, v in enumerate([big, big, big + 1, big])]
    assert kept_times_ms(tag, records) == [0, 2, 3]


def test_signed_extremes_are_far_apart_not_neighbours():
    tag = Tag(0, "b/d/t", ValueType.I64, deadband=DeadbandKind.ABSOLUTE, deadband_value=10.0)
    records = [integer(0, -(2**63)), integer(1, 2**63 - 1), integer(2, 2**63 - 5)]
    assert kept_times_ms(tag, records) == [0, 1]


def test_every_piece_of_a_text_stays():
    tag = Tag(0, "b/d/t", ValueType.TEXT, deadband=DeadbandKind.ABSOLUTE, deadband_value=1.0)
    pieces = [RECORD.pack(0, 7, 0, 0, ValueType.TEXT, 0, 8, part) for part in (0, 1, 2 | 1 << 31)]
    samples = Samples(b"".join(pieces))
    assert compile_filter([tag]).apply(samples) == 3


def thinned(every_ms: int, read_ms: int, **settings) -> Tag:
    return Tag(0, "b/d/t", **{"type": ValueType.F64, "every_ns": every_ms * MS, "read_ns": read_ms * MS, **settings})


def test_a_tag_that_rides_in_a_faster_read_comes_as_often_as_it_was_asked_for():
    records = [record(0, t, float(t)) for t in range(0, 3000, 100)]
    assert kept_times_ms(thinned(1000, 100), records) == [0, 1000, 2000]
    assert kept_times_ms(thinned(250, 100), records[:11]) == [0, 200, 500, 700, 1000]
    assert kept_times_ms(thinned(100, 100), records) == list(range(0, 3000, 100))


def test_reads_that_come_early_or_late_do_not_shift_or_skip_the_ones_that_are_due():
    jitter = [0, 40, -40, 30, -30, 49, -49, 10, -10, 0]
    times = [100 * step + jitter[step % 10] for step in range(100)]
    kept = kept_times_ms(thinned(500, 100), [record(0, t, float(t)) for t in times])
    assert kept == [times[step] for step in range(0, 100, 5)]


def test_after_an_outage_the_grid_goes_on_where_it_would_be():
    times = [0, 100, 1740, 1840, 1940, 2040]
    assert kept_times_ms(thinned(500, 100), [record(0, t, float(t)) for t in times]) == [0, 1740, 2040]


def test_a_thinned_tag_tells_of_a_failure_and_of_its_end_at_once():
    good, bad = Quality.GOOD, Quality.EXCEPTION
    states = [good, good, bad, bad, good, good]
    records = [record(0, 100 * step, 1.0, quality) for step, quality in enumerate(states)]
    assert kept_times_ms(thinned(1000, 100), records) == [0, 200, 400]


def test_the_dead_band_of_a_thinned_tag_sees_only_what_was_asked_for():
    tag = thinned(1000, 100, deadband=DeadbandKind.ABSOLUTE, deadband_value=1.0)
    records = [record(0, t, 50.0 if t % 1000 else t / 4000) for t in range(0, 9000, 100)]
    assert kept_times_ms(tag, records) == [0, 5000]


def test_a_thinned_text_is_thinned_whole():
    tag = thinned(1000, 500, type=ValueType.TEXT)
    pieces = [
        RECORD.pack(t * MS, 7, 0, 0, ValueType.TEXT, 0, 8, part) for t in (0, 500, 1000) for part in (0, 1, 2 | 1 << 31)
    ]
    assert kept_times_ms(tag, pieces) == [0, 0, 0, 1000, 1000, 1000]


def test_tags_are_remembered_apart_and_across_calls():
    tags = [Tag(n, f"b/d/{n}", ValueType.F64, deadband=DeadbandKind.ABSOLUTE, deadband_value=1.0) for n in range(2)]
    filter_ = compile_filter(tags)
    first = Samples(record(0, 0, 10.0) + record(1, 0, 20.0))
    second = Samples(record(0, 1, 10.5) + record(1, 1, 22.0))
    assert filter_.apply(first) == 2
    assert filter_.apply(second) == 1
    assert RECORD.unpack(bytes(second))[2] == 1


def test_an_unknown_tag_is_an_error_and_changes_nothing():
    filter_ = compile_filter([Tag(0, "b/d/t", ValueType.F64)])
    samples = Samples(record(0, 0, 1.0) + record(7, 0, 1.0))
    with pytest.raises(ValueError, match="not among the 1"):
        filter_.apply(samples)
    assert len(samples) == 2


def test_torn_rules_are_refused():
    with pytest.raises(ValueError, match="whole 56-byte rules"):
        Filter(b"x" * 57)


VALUES = st.sampled_from([0.0, 1.0, 1.5, -3.0, 100.0, 101.0, math.nan])
STATES = st.sampled_from([Quality.GOOD, Quality.GOOD, Quality.COMM_FAIL, Quality.SUBSTITUTED])


def slow_reference(tag: Tag, inputs):
    last = None
    for t, value, quality in inputs:
        news = last is None or last[2] != quality or (tag.heartbeat_ns and (t - last[0]) * MS >= tag.heartbeat_ns)
        if not news and quality.has_value:
            if tag.deadband is DeadbandKind.NONE:
                news = True
            elif math.isnan(value) or math.isnan(last[1]):
                news = math.isnan(value) != math.isnan(last[1])
            else:
                percent = tag.deadband is DeadbandKind.PERCENT
                limit = tag.deadband_value / 100 * abs(last[1]) if percent else tag.deadband_value
                news = abs(value - last[1]) > limit
        if news:
            last = (t, value, quality)
            yield t


@given(
    st.sampled_from(list(DeadbandKind)),
    st.floats(0, 10),
    st.sampled_from([0, 5, 50]),
    st.lists(st.tuples(st.integers(0, 9), VALUES, STATES), max_size=60),
)
def test_any_sequence_keeps_what_the_definition_keeps(kind, threshold, heartbeat_ms, steps):
    tag = Tag(0, "b/d/t", ValueType.F64, 1.0, 0.0, "", kind, threshold, heartbeat_ms * MS)
    t, inputs = 0, []
    for gap, value, quality in steps:
        t += gap + 1
        inputs.append((t, value if quality.has_value else 0.0, quality))
    records = [record(0, when, value, quality) for when, value, quality in inputs]
    assert kept_times_ms(tag, records) == list(slow_reference(tag, inputs))

"""The state record: every byte as docs/FORMAT.md draws it, bounded, and never trusted."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import FormatError
from agent.model import BatchKey, Gap
from agent.store.pages import Place
from agent.store.state import (
    MAX_GAPS,
    MAX_RANGES,
    REASONS,
    Acknowledged,
    GapLedger,
    Range,
    State,
    decode_state,
    encode_state,
    merge_gaps,
)

A, B, C = b"epoch00a", b"epoch00b", b"epoch00c"
GOLDEN = State(
    clean=True,
    next_seq=0x0102,
    needed=Place(0x0304, 0x0506, 0x0708),
    needed_key=BatchKey(A, 0x090A),
    covered=0x0B0C,
    acknowledged=(Range(B, 0x0D, 0x0E),),
    gaps=(Gap(A, 0, -1, 0x0F, "overrun"),),
    reported=((0x10, 0x11),),
)
GOLDEN_BYTES = (
    "01 00 0100 0100 0100 0201000000000000"
    "0403000000000000 06050000 0807000000000000 65706f6368303061 0a09000000000000 0c0b0000"
    "65706f6368303062 0d00000000000000 0e00000000000000"
    "65706f6368303061 0000000000000000 ffffffffffffffff 0f00000000000000 03 00000000000000"
    "1000000000000000 1100000000000000"
)

u64 = st.integers(0, 2**64 - 1)
epochs = st.binary(min_size=8, max_size=8)
gaps = st.builds(Gap, epochs, u64, st.integers(-1, 2**63 - 1), u64, st.sampled_from(REASONS))
states = st.builds(
    State,
    st.booleans(),
    u64,
    st.builds(Place, u64, st.integers(0, 2**32 - 1), u64),
    st.builds(BatchKey, epochs, u64),
    st.integers(0, 2**32 - 1),
    st.lists(st.builds(Range, epochs, u64, u64), max_size=4).map(tuple),
    st.lists(gaps, max_size=4).map(tuple),
    st.lists(st.tuples(u64, u64), max_size=4).map(tuple),
)


def test_every_byte_is_where_the_format_draws_it():
    assert encode_state(GOLDEN) == bytes.fromhex(GOLDEN_BYTES)
    assert decode_state(bytes.fromhex(GOLDEN_BYTES)) == GOLDEN


@given(states)
def test_any_state_comes_back(state):
    assert decode_state(encode_state(state)) == state


@given(
    st.one_of(st.binary(max_size=200), st.tuples(states, st.integers(0, 300)).map(lambda t: encode_state(t[0])[: t[1]]))
)
def test_bytes_that_are_not_a_state_are_a_format_error_at_most(payload):
    try:
        decode_state(payload)
    except FormatError:
        return
    assert encode_state(decode_state(payload))[2:] == payload[2:]


def test_an_unknown_reason_is_a_format_error():
    broken = bytearray.fromhex(GOLDEN_BYTES)
    broken[-24] = len(REASONS)
    with pytest.raises(FormatError):
        decode_state(bytes(broken))


@given(st.lists(st.tuples(st.sampled_from([A, B]), st.integers(0, 30), st.integers(0, 5)), max_size=30))
def test_acknowledged_ranges_are_exactly_the_union_of_what_was_added(spans):
    acknowledged, expected = Acknowledged(), set()
    for epoch, first, length in spans:
        acknowledged.add(Range(epoch, first, first + length), page=1)
        expected |= {(epoch, seq) for seq in range(first, first + length + 1)}
    held = {(epoch, seq) for epoch in (A, B) for seq in range(40) if acknowledged.holds(Range(epoch, seq, seq))}
    assert held == expected
    ranges = acknowledged.ranges()[-MAX_RANGES:]
    assert all(a.epoch != b.epoch or a.last + 1 < b.first for a, b in pairwise(ranges))


def test_only_what_stands_before_the_first_needed_batch_is_forgotten():
    acknowledged = Acknowledged()
    acknowledged.add(Range(C, 0, 5), page=30)
    acknowledged.add(Range(A, 0, 9), page=10)
    acknowledged.add(Range(B, 0, 3), page=20)
    acknowledged.add(Range(B, 7, 9), page=20)
    acknowledged.forget_before(15, BatchKey(B, 4))
    assert set(acknowledged.ranges()) == {Range(C, 0, 5), Range(B, 7, 9)}


def evicted(seq, samples=10, epoch=A):
    return Gap(epoch, seq, seq, samples, "evicted")


def test_evictions_side_by_side_are_one_gap():
    known = []
    for seq in (5, 6, 4, 9, 8, 7):
        merge_gaps(known, evicted(seq))
    assert known == [Gap(A, 4, 9, 60, "evicted")]


def test_the_same_gap_is_told_once():
    known = []
    for _ in range(3):
        merge_gaps(known, Gap(A, 3, 2, 0, "restart"))
    assert known == [Gap(A, 3, 2, 0, "restart")]


def test_too_many_gaps_are_joined_without_losing_a_sample():
    known = []
    for seq in range(0, 2000, 7):
        merge_gaps(known, evicted(seq))
    assert len(known) == MAX_GAPS
    assert sum(gap.samples for gap in known) == 10 * len(range(0, 2000, 7))


def test_of_too_many_different_stories_the_smallest_is_forgotten():
    known = []
    for number in range(MAX_GAPS + 1):
        merge_gaps(known, Gap(b"%08d" % number, 0, 0, 100 if number != 5 else 1, "damaged"))
    assert len(known) == MAX_GAPS
    assert all(gap.samples == 100 for gap in known)


def test_one_batch_at_a_time_carries_gaps():
    ledger, first, second = GapLedger(), BatchKey(A, 1), BatchKey(A, 2)
    ledger.add(evicted(5))
    assert ledger.hand_out() == [evicted(5)]
    ledger.carried_by(first)
    ledger.add(evicted(7))
    assert ledger.hand_out() == []
    ledger.carried_by(second)
    assert ledger.all() == (evicted(5), evicted(7))
    assert not ledger.arrived(second)
    assert ledger.arrived(first)
    assert ledger.all() == (evicted(7),)
    assert ledger.hand_out() == [evicted(7)]


def test_what_a_lost_batch_carried_waits_again():
    ledger, key = GapLedger(), BatchKey(A, 1)
    ledger.add(evicted(5))
    ledger.hand_out()
    ledger.carried_by(key)
    ledger.add(evicted(6))
    ledger.lost(BatchKey(A, 9))
    assert ledger.hand_out() == []
    ledger.lost(key)
    assert ledger.hand_out() == [Gap(A, 5, 6, 20, "evicted")]

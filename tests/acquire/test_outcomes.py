"""Which reads are seen in drained samples, and as what."""

from layouts import RECORD

from agent._native.samples import Samples
from agent.acquire.outcomes import Outcome, outcomes
from agent.model import Quality, ValueType

GOOD, REFUSED, SILENT, RANGE = Quality.GOOD, Quality.EXCEPTION, Quality.COMM_FAIL, Quality.OUT_OF_RANGE


def read(time: int, group: int, *tags: int, quality: Quality = GOOD, code: int = 0) -> bytes:
    return b"".join(RECORD.pack(time, 7, tag, group, ValueType.U16, quality, code, 0) for tag in tags)


def seen(*reads: bytes, start: int = 0, watched: frozenset[int] = frozenset()) -> list[Outcome]:
    return list(outcomes(Samples(b"".join(reads)), start, watched))


def test_of_reads_that_succeed_only_the_watched_ones_are_seen() -> None:
    reads = read(1, 0, 1, 2), read(2, 1, 3, 4), read(3, 0, 1, 2)
    assert seen(*reads) == []
    assert seen(*reads, watched=frozenset({4})) == [Outcome(frozenset({3, 4}), 2, GOOD, 0)]
    assert [outcome.time_ns for outcome in seen(*reads, watched=frozenset({2}))] == [1, 3]


def test_reads_that_fail_are_seen_with_the_exception_of_the_device() -> None:
    assert seen(read(1, 0, 1, 2), read(2, 1, 3, quality=REFUSED, code=2), read(3, 0, 1, 2, quality=SILENT)) == [
        Outcome(frozenset({3}), 2, REFUSED, 2),
        Outcome(frozenset({1, 2}), 3, SILENT, 0),
    ]


def test_reads_at_one_time_and_reads_of_one_group_are_told_apart() -> None:
    reads = read(1, 0, 1, quality=SILENT), read(1, 1, 2, quality=SILENT), read(2, 1, 2, quality=SILENT)
    assert [(each.tags, each.time_ns) for each in seen(*reads)] == [({1}, 1), ({2}, 1), ({2}, 2)]


def test_the_pieces_of_a_text_are_one_tag() -> None:
    assert seen(read(1, 0, 1, 5, 5, 5), watched=frozenset({5})) == [Outcome(frozenset({1, 5}), 1, GOOD, 0)]


def test_a_read_with_one_value_that_cannot_be_has_succeeded_all_the_same() -> None:
    reads = read(1, 0, 1, quality=RANGE) + read(1, 0, 2)
    assert seen(reads) == []
    (outcome,) = seen(reads, watched=frozenset({2}))
    assert outcome.is_answered


def test_what_was_looked_at_before_is_not_looked_at_again() -> None:
    reads = read(1, 0, 1, 2, quality=SILENT), read(2, 0, 1, 2, quality=SILENT)
    assert [each.time_ns for each in seen(*reads, start=2)] == [2]
    assert seen() == []

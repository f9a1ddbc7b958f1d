"""Coils that are asked for in another shape, because an answer of theirs is owed: whole bytes more or less of them."""

import pytest
from bus_rig import MS, QUICK, READ_COILS, Poll, Rig, S, answer_to, asked

OWN = Poll(period=50 * MS, timeout=40 * MS, function=READ_COILS)
SELDOM = Poll(period=60 * S, phase=50 * S, function=READ_COILS)


def reads(own: Poll, *others: Poll) -> Rig:
    """A line on which the second answer got lost."""
    return Rig([own, *others], lambda request, n: [] if n == 1 else QUICK(request, n)).run(500 * MS)


@pytest.mark.parametrize(
    ("own", "others", "then"),
    [
        pytest.param((16, 8), [(24, 16)], "1/1@16x16", id="eight more behind it"),
        pytest.param((16, 5), [(21, 16)], "1/1@16x13", id="no whole byte of its own"),
        pytest.param((16, 5), [(21, 7), (40, 30)], "1/loop-back", id="seven more are no byte more"),
        pytest.param((16, 8), [(0, 16)], "1/1@8x16", id="eight more before it"),
        pytest.param((16, 5), [(3, 13)], "1/1@8x13", id="before it, and no whole byte"),
        pytest.param((16, 8), [(8, 8), (100, 12)], "1/loop-back", id="no more at once than any block has"),
    ],
)
def test_whole_bytes_that_the_plan_reads_anyway_are_read_as_well(
    own: tuple[int, int], others: list[tuple[int, int]], then: str
) -> None:
    address, quantity = own
    seldom = [SELDOM._replace(address=at, quantity=n) for at, n in others]
    rig = reads(OWN._replace(address=address, quantity=quantity), *seldom)
    assert asked(rig)[1:3] == [f"1/1@{address}x{quantity}", then]
    assert {sample.tag - 1000 for sample in rig.good()} == set(range(address, address + quantity))
    assert rig.wrong() == []


def test_late_answers_of_both_shapes_are_recognised() -> None:
    polls = [OWN._replace(address=16, quantity=21, period=150 * MS)]
    rig = Rig(polls, lambda request, n: [] if n in {1, 2} else QUICK(request, n)).run(370 * MS)
    assert asked(rig) == ["1/1@16x21", "1/1@16x21", "1/1@16x16"]
    rig.put(380 * MS, b"".join(answer_to(request) for _, request in rig.sent[1:]))
    rig.run(S)
    assert rig.counts["stale_discarded"] == 2
    assert asked(rig)[3:] == ["1/1@16x21"] * 4


def test_whole_bytes_less_are_read_at_either_end_in_turn() -> None:
    rig = reads(OWN._replace(address=16, quantity=21))
    assert asked(rig)[:5] == ["1/1@16x21", "1/1@16x21", "1/1@16x16", "1/1@24x13", "1/1@16x16"]
    tags = [sample.tag - 1016 for sample in rig.good()][21:50]
    assert tags == [*range(16), *range(8, 21)]
    assert rig.wrong() == []

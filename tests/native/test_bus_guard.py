"""What a bus does about answers that are late, slow, missing or damaged; all mixtures: test_fault_matrix.py."""

import itertools

import pytest
from bus_rig import (
    AMBIGUOUS,
    COMM_FAIL,
    GOOD,
    LOOP_BACK,
    MS,
    QUICK,
    QUIET_NS,
    READ_INPUT,
    SILENCE,
    Poll,
    Rig,
    S,
    after,
    answer_to,
    asked,
    late_at,
    paced,
    plan_of,
)
from hypothesis import given
from hypothesis import strategies as st
from layouts import BLOCK, packed_point
from wire import with_crc

# --- while an answer is owed ---


def test_after_a_timeout_a_register_less_is_read_at_either_end_in_turn() -> None:
    rig = Rig(
        [Poll(period=50 * MS, timeout=40 * MS, quantity=10)], lambda request, n: [] if n == 1 else QUICK(request, n)
    )
    rig.run(500 * MS)
    assert asked(rig)[:6] == ["1/3@0x10", "1/3@0x10", "1/3@0x9", "1/3@1x9", "1/3@0x9", "1/3@1x9"]
    assert asked(rig)[-1] == "1/3@0x10"  # its window is over
    tags = [sample.tag - 1000 for sample in rig.samples if sample.quality == GOOD][10:28]
    assert tags == [*range(9), *range(1, 10)]
    assert rig.wrong() == []


def test_registers_that_the_plan_reads_anyway_are_read_as_well_instead() -> None:
    polls = [
        Poll(period=50 * MS, timeout=40 * MS, quantity=4),
        Poll(period=5 * S, phase=4 * S, address=4, quantity=8),
    ]
    rig = Rig(polls, lambda request, n: [] if n == 1 else QUICK(request, n)).run(500 * MS)
    assert asked(rig)[:4] == ["1/3@0x4", "1/3@0x4", "1/3@0x5", "1/3@0x5"]
    assert {sample.tag for sample in rig.good()} == {1000, 1001, 1002, 1003}


APART, SEAM = 1, 2  # plan.h: FT_APART, FT_SEAM


@pytest.mark.parametrize(
    ("before", "own", "behind", "then"),
    [
        (0, 0, 0, "1/3@10x5"),
        (0, 0, APART, "1/3@9x5"),
        (0, 0, SEAM, "1/3@9x5"),
        (0, SEAM, 0, "1/3@10x5"),
        (0, SEAM, SEAM, "1/3@10x3"),
        (APART, 0, APART, "1/3@10x3"),
        (APART, SEAM, 0, "1/3@10x5"),
        (0, APART, 0, "1/3@10x3"),
        (SEAM, 0, APART, "1/3@9x5"),
    ],
)
@pytest.mark.parametrize("step", [1, -1])  # the plan may have them in any order
def test_what_the_device_does_not_allow_is_not_read_as_well(
    before: int, own: int, behind: int, then: str, step: int
) -> None:
    """Neighbours on both sides would do; where neither may be read with it, a register less is."""
    seldom = Poll(period=60 * S, phase=50 * S, quantity=8)
    polls = [
        seldom._replace(address=2, bounds=before),
        Poll(period=50 * MS, timeout=40 * MS, address=10, quantity=4, bounds=own),
        seldom._replace(address=14, bounds=behind),
    ]
    rig = Rig(polls[::step], lambda request, n: [] if n == 1 else QUICK(request, n)).run(500 * MS)
    assert asked(rig)[:3] == ["1/3@10x4", "1/3@10x4", then]


def test_registers_of_another_table_or_unit_are_not_read_as_well() -> None:
    seldom = Poll(period=60 * S, phase=50 * S, address=14, quantity=8)
    polls = [
        Poll(period=50 * MS, timeout=40 * MS, address=10, quantity=4),
        seldom._replace(function=READ_INPUT),
        seldom._replace(unit=2),
    ]
    rig = Rig(polls, lambda request, n: [] if n == 1 else QUICK(request, n)).run(500 * MS)
    assert asked(rig)[:3] == ["1/3@10x4", "1/3@10x4", "1/3@10x3"]


def test_nothing_is_read_across_the_seam_of_others() -> None:
    seldom = Poll(period=60 * S, phase=50 * S, quantity=2)
    polls = [
        Poll(period=50 * MS, timeout=40 * MS, quantity=8),
        seldom._replace(address=8),
        seldom._replace(address=10, bounds=SEAM),
        seldom._replace(address=12, quantity=20),
    ]
    rig = Rig(polls, lambda *_: []).run(5 * S)  # it owes more and more shapes
    assert max(int(short.rpartition("x")[2]) for short in asked(rig) if "@0x" in short) == 10


def test_no_tag_is_torn_where_less_is_read() -> None:
    wide = [packed_point(7, 0, 2, 3), packed_point(8, 2, 4, 5), packed_point(9, 6, 2, 3)]
    blocks, _, devices = plan_of([Poll(period=50 * MS, timeout=40 * MS, quantity=8)])
    packed = list(BLOCK.unpack(blocks))
    packed[7] = len(wide)
    rig = Rig([Poll()], lambda request, n: [] if n == 1 else QUICK(request, n))
    rig.bus.adopt(BLOCK.pack(*packed), b"".join(wide), devices, 0)
    rig.run(300 * MS)
    assert asked(rig)[2:4] == ["1/3@0x6", "1/3@2x6"]
    assert [sample.tag for sample in rig.good()][3:7] == [7, 8, 8, 9]


SINGLE = Poll(period=20 * MS, timeout=50 * MS, quantity=1)


def test_a_single_register_is_asked_for_behind_a_barrier_and_after_the_window() -> None:
    rig = Rig([SINGLE], lambda request, n: [] if n == 1 else QUICK(request, n)).run(S)
    assert asked(rig)[:4] == ["1/3@0x1", "1/3@0x1", "1/loop-back", "1/3@0x1"]
    assert rig.sent[3][0] - rig.sent[1][0] >= 50 * MS + 250 * MS
    assert rig.counts["barriers"] == 1


def test_no_two_barriers_bear_the_same_number() -> None:
    """The late answer to one is none to another."""
    rig = Rig([SINGLE], lambda request, n: [] if request[1] != LOOP_BACK and n % 3 == 1 else QUICK(request, n))
    rig.run(100 * S)
    numbers = [request[4:6] for _, request in rig.sent if request[1] == LOOP_BACK]
    assert len(set(numbers)) == len(numbers) > 200


def test_a_device_that_answers_in_order_is_trusted_with_barriers_after_a_while() -> None:
    """Its late answers come in front of the barrier's, four times; the fifth, lost for good, is not waited for."""

    def answer(request: bytes, number: int) -> list[tuple[int, bytes]]:
        held, rig.held = rig.held, b""
        if request[1] != LOOP_BACK and number % 5 == 4 and number < 24:
            rig.held = answer_to(request)
            return []
        if number == 31:
            return []
        return paced(held + answer_to(request), QUIET_NS)

    rig = Rig([SINGLE], answer)
    rig.held = b""
    rig.run(2 * S)
    lost = rig.sent[31][0]
    assert rig.counts["stale_discarded"] >= 4
    assert asked(rig)[32:34] == ["1/loop-back", "1/3@0x1"]
    assert rig.sent[33][0] - lost < 100 * MS
    assert rig.wrong() == []


def test_a_device_whose_answer_comes_behind_that_to_the_barrier_is_trusted_no_more() -> None:
    held: list[bytes] = []

    def answer(request: bytes, number: int) -> list[tuple[int, bytes]]:
        late = held.pop() if held else b""
        if number in {45, 60} or (request[1] != LOOP_BACK and number % 5 == 4 and (number < 40 or number == 54)):
            held.append(b"" if number == 60 else answer_to(request))
            return []
        own = answer_to(request)
        return [(MS, own), (2 * MS, late)] if number == 46 else paced(late + own, QUIET_NS)

    rig = Rig([SINGLE], answer).run(5 * S)
    assert [asked(rig)[lost : lost + 3] for lost in (45, 60)] == [["1/3@0x1", "1/loop-back", "1/3@0x1"]] * 2
    trusted, not_trusted = (rig.sent[lost + 2][0] - rig.sent[lost][0] for lost in (45, 60))
    assert trusted < 100 * MS < 250 * MS < not_trusted
    assert rig.wrong() == []


def test_a_device_without_loop_back_refuses_it_and_that_is_as_good() -> None:
    refusal = with_crc(bytes([1, 0x80 | LOOP_BACK, 1]))
    rig = Rig(
        [SINGLE],
        lambda request, n: paced(refusal, QUIET_NS) if request[1] == LOOP_BACK else late_at({3: 60 * MS})(request, n),
    ).run(S)
    assert rig.counts["exceptions"] == 0
    assert rig.counts["ok"] > 40
    assert rig.counts["stale_discarded"] == 1


def test_a_device_that_ignores_loop_backs_is_not_taken_for_dead_and_not_asked_for_ever() -> None:
    lost = itertools.cycle([False] * 9 + [True])
    rig = Rig([SINGLE], lambda request, n: [] if request[1] == LOOP_BACK or next(lost) else QUICK(request, n))
    rig.run(30 * S)
    assert rig.counts["barriers"] == 2
    assert rig.counts["probes"] == 0
    assert rig.counts["ok"] > 500


def test_an_exception_that_may_be_a_late_one_is_not_believed_and_cleared_up_by_a_barrier() -> None:
    refusal = with_crc(bytes([1, 0x83, 4]))

    def answer(request: bytes, number: int) -> list[tuple[int, bytes]]:
        return paced(refusal, QUIET_NS) if number == 3 else [] if number in {2, 20} else QUICK(request, number)

    rig = Rig([Poll(period=50 * MS, timeout=40 * MS)], answer).run(2 * S)
    assert asked(rig)[2:5] == ["1/3@0x10", "1/3@0x9", "1/loop-back"]
    assert asked(rig)[20:22] == ["1/3@0x10", "1/3@1x9"]  # all is as it was before
    assert rig.counts["ambiguous"] == 1
    assert rig.counts["exceptions"] == rig.counts["stale_discarded"] == 0
    told = {(sample.quality, sample.detail) for sample in rig.samples}
    assert told == {(GOOD, 0), (COMM_FAIL, SILENCE), (COMM_FAIL, AMBIGUOUS)}
    assert asked(rig)[-1] == "1/3@0x10"


@given(
    first=st.sampled_from([b"", b"\x00", answer_to(with_crc(b"\x01\x03\x00\x00\x00\x0a"))]),
    behind=st.sampled_from([b"", with_crc(b"\x01\x83\x02"), b"\x00\x00", with_crc(b"\x01\x03\x02\x00\x07")]),
)
def test_what_is_glued_to_an_answer_changes_nothing(first: bytes, behind: bytes) -> None:
    rig = Rig(
        [Poll(period=50 * MS, address=5, quantity=3)],
        lambda request, _: [(2 * MS, first + answer_to(request) + behind)],
    ).run(S)
    assert rig.counts["ok"] == 20
    assert rig.wrong() == []


@pytest.mark.parametrize(("asleep_ns", "taken"), [(700 * MS, True), (900 * MS, False), (600 * S, False)])
def test_an_answer_that_came_while_the_process_slept_is_a_late_one(asleep_ns: int, taken: bool) -> None:
    rig = Rig([Poll(quantity=2)], after(10 * MS)).run(5 * MS)
    rig.now = asleep_ns  # its deadline is at 300 ms
    rig.run(asleep_ns + 50 * MS)
    assert rig.counts["stale_discarded"] == rig.counts["timeouts"] == (not taken)
    assert [sample.quality for sample in rig.samples[:2]] == [GOOD if taken else COMM_FAIL] * 2
    assert rig.run(asleep_ns + 2 * S).counts["timeouts"] == (not taken)


def test_a_late_answer_in_an_idle_line_is_recognised_and_makes_the_timeouts_longer() -> None:
    polls = [Poll(period=S, timeout=500 * MS)]
    slow = dict.fromkeys(range(300, 320), 100 * MS)
    rig = Rig(polls, late_at(slow), ring_bits=14).run(299 * S + 500 * MS)
    assert rig.counts["timeouts"] == 0
    rig.run(330 * S)
    assert rig.counts["stale_discarded"] == rig.counts["timeouts"] == 1  # the first one, at 30 ms


def test_a_late_exception_is_recognised_and_nothing_is_owed_any_more() -> None:
    def answer(request: bytes, number: int) -> list[tuple[int, bytes]]:
        return [(100 * MS, with_crc(bytes([1, 0x83, 4])))] if number == 3 else QUICK(request, number)

    rig = Rig([Poll(period=150 * MS, timeout=40 * MS, quantity=1)], answer).run(3 * S)
    assert [at for at, _ in rig.sent][1:] == [number * 150 * MS for number in range(1, 20)]
    assert asked(rig) == ["1/3@0x1"] * 20
    assert (rig.counts["stale_discarded"], rig.counts["timeouts"], rig.counts["exceptions"]) == (1, 1, 0)


@pytest.mark.parametrize("unit", [1, 9, 60])
def test_what_has_come_late_leaves_nothing_to_be_feared(unit: int) -> None:
    """A damaged answer has come, and nothing older is under way: the next request is the same."""

    def answer(request: bytes, number: int) -> list[tuple[int, bytes]]:
        whole = answer_to(request)
        damaged = [(QUIET_NS, bytes([*whole[:-1], whole[-1] ^ 1]))]
        return {1: paced(whole, 100 * MS), 4: damaged}.get(number, QUICK(request, number))

    rig = Rig([Poll(unit=unit, period=150 * MS, timeout=40 * MS)], answer).run(S)
    assert (rig.counts["stale_discarded"], rig.counts["crc_errors"]) == (1, 1)
    assert asked(rig) == [f"{unit}/3@0x10"] * len(rig.sent)


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 16])
def test_a_late_answer_is_recognised_in_whatever_pieces_it_comes(piece_bytes: int) -> None:
    def answer(request: bytes, number: int) -> list[tuple[int, bytes]]:
        late = paced(answer_to(request), 100 * MS, piece_bytes=piece_bytes)
        return late if number == 1 else QUICK(request, number)

    rig = Rig([Poll(unit=1, period=150 * MS, timeout=40 * MS)], answer).run(S)
    assert (rig.counts["stale_discarded"], rig.counts["noise_bytes"]) == (1, 25)
    assert asked(rig) == ["1/3@0x10"] * len(rig.sent)


@pytest.mark.parametrize("cut", [0, 20, 30, 300, 600])
@pytest.mark.parametrize("noise_bytes", [0, 600])  # more than are kept to find late answers in
def test_late_answers_that_come_together_are_told_apart(noise_bytes: int, cut: int) -> None:
    rig = Rig([Poll(period=150 * MS, timeout=40 * MS)], lambda request, n: [] if n in {1, 2} else QUICK(request, n))
    rig.run(370 * MS)
    both = bytes(noise_bytes) + b"".join(answer_to(request) for _, request in rig.sent[1:])
    rig.put(380 * MS, both[:cut])
    rig.put(385 * MS, both[cut:])
    rig.run(S)
    assert asked(rig)[:3] == ["1/3@0x10", "1/3@0x10", "1/3@0x9"]
    assert rig.counts["stale_discarded"] == 2
    assert asked(rig)[3:] == ["1/3@0x10"] * 4


def test_what_is_damaged_is_not_taken_for_a_late_answer() -> None:
    rig = Rig([Poll(period=150 * MS, timeout=40 * MS)], lambda request, n: [] if n == 1 else QUICK(request, n))
    whole = answer_to(with_crc(b"\x01\x03\x00\x00\x00\x0a"))
    rig.put(250 * MS, whole[:-1] + bytes([whole[-1] ^ 1]))
    rig.run(S)
    assert rig.counts["stale_discarded"] == 0
    assert asked(rig)[2] == "1/3@0x9"


def test_a_lost_answer_is_feared_no_longer_because_another_unit_lost_one() -> None:
    """Loop-backs of unit 1 are answered, unit 2 is silent at all times."""
    polls = [SINGLE._replace(period=MS), Poll(unit=2, period=MS, timeout=60 * MS)]
    rig = Rig(polls, lambda request, n: [] if n == 2 or request[0] == 2 else QUICK(request, n)).run(S)
    lost, again = [at for at, request in rig.sent if request[:2] == b"\x01\x03"][1:3]
    assert [request[0] for _, request in rig.sent][:3] == [1, 2, 1]
    assert again - lost == pytest.approx(50 * MS + 250 * MS, abs=70 * MS)  # and perhaps a timeout of unit 2


def test_a_lost_answer_is_feared_no_longer_because_the_unit_lost_another_one_after_it_had_answered() -> None:
    first, second = Poll(period=10 * MS, timeout=50 * MS), Poll(period=10 * MS, timeout=50 * MS, address=90, quantity=5)
    lost = {}

    def answer(request: bytes, number: int) -> list[tuple[int, bytes]]:
        name = "first" if request[3] < 90 else "second"
        since = rig.now - lost.get("first", rig.now)
        if number > 5 and name not in lost and (name == "first" or since > 200 * MS):
            lost[name] = rig.now
            return []
        return QUICK(request, number)

    rig = Rig([first, second], answer, ring_bits=14)
    rig.run(S)
    whole = [at for at, short in zip([at for at, _ in rig.sent], asked(rig), strict=True) if short == "1/3@0x10"]
    again = min(at for at in whole if at > lost["first"])
    assert again - lost["first"] == pytest.approx(50 * MS + 250 * MS, abs=70 * MS)


def test_no_more_than_eight_answers_of_a_unit_are_owed_at_a_time() -> None:
    """Each is answered with noise, so that it may yet come, and in another shape than all others."""
    polls = [Poll(period=MS, timeout=10 * MS, address=100 * at, quantity=1 + at) for at in range(12)]
    rig = Rig(polls, lambda *_: [(QUIET_NS, b"\xff")]).run(S)
    at = [sent for sent, _ in rig.sent]
    assert at[8] - at[7] >= 250 * MS > at[7] - at[0]
    assert len({request[5] for _, request in rig.sent[:8]}) == 8

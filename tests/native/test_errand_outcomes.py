"""Single requests between the polls: whatever is late, lost or foreign, each has one outcome, and never another's."""

import random

import links
import pytest
from bus_errands import (
    READ,
    WRITE,
    WRITE_MANY,
    ErrandRig,
    device,
    late_once,
    only_reads,
    read,
    refusal,
    reply,
    write,
    write_many,
)
from bus_rig import LOOP_BACK, MS, QUIET_NS, Poll, S, paced, plan_of
from errands import answered
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import with_crc

from agent._native.busloop import ERRANDS
from agent.acquire import pdu

LONGEST_RTU, LONGEST_TCP = 256, 260


@pytest.mark.parametrize("late", [60, 90, 150, 240])
def test_the_late_answer_to_one_write_is_never_taken_for_that_to_the_next(late: int) -> None:
    rig = ErrandRig([Poll(period=100 * MS)], late_once(late * MS)).run(1050 * MS)
    first = rig.offer(write(1), timeout=50 * MS)
    second = rig.offer(write(1), timeout=50 * MS)  # the very same, and lost
    rig.run(5 * S)
    assert [done.end for done in first + second] == ["timed-out", "timed-out"]
    assert rig.counts["stale_discarded"] == 1
    assert not rig.wrong()


@pytest.mark.parametrize("piece_bytes", [1, 3, 16])
@pytest.mark.parametrize("late", [60, 90, 150])
def test_a_late_answer_of_a_length_nobody_knew_is_heard_and_is_not_that_to_the_next(
    late: int, piece_bytes: int
) -> None:
    identification = pdu.device_identification()
    told = with_crc(b"\x01" + bytes.fromhex("2b0e01010000010003") + b"old")
    asked = with_crc(b"\x01" + identification)
    answers = iter([paced(told, late * MS, piece_bytes=piece_bytes), []])

    def answer(request: bytes, number: int) -> list[tuple[int, bytes]]:
        return next(answers) if request == asked else device(request, number)

    rig = ErrandRig([Poll(period=100 * MS)], answer).run(1050 * MS)
    both = [rig.offer(asked, size=0, timeout=50 * MS), rig.offer(asked, size=0, timeout=50 * MS)]
    rig.run(5 * S)
    assert [done.end for became in both for done in became] == ["timed-out", "timed-out"]
    assert rig.counts["stale_discarded"] == 1
    assert not rig.wrong()


def test_an_exception_that_may_be_anothers_is_no_outcome() -> None:
    def answer(request: bytes, number: int) -> list[tuple[int, bytes]]:
        if request == read(quantity=9):
            return [(70 * MS, refusal(request))]
        return [] if request == read(quantity=3) else device(request, number)

    rig = ErrandRig([Poll(period=100 * S)], answer).run(S)
    rig.offer(read(quantity=9), size=23, timeout=50 * MS)
    second = rig.offer(read(quantity=3), size=11, timeout=50 * MS)
    rig.run(5 * S)
    assert second[0].end == "ambiguous"


def test_polls_of_the_unit_go_on_while_its_write_is_in_doubt() -> None:
    rig = ErrandRig([Poll(period=100 * MS)], only_reads).run(1050 * MS)
    rig.offer(write(), timeout=50 * MS)
    begun = len(rig.good())
    rig.run(3050 * MS)
    assert len(rig.good()) - begun >= 10 * 19


def test_what_is_answered_by_its_copy_waits_until_it_is_known_whether_the_line_echoes() -> None:
    rig = ErrandRig([Poll(phase=S, period=S)])
    became = rig.offer(write())
    rig.run(990 * MS)
    assert not rig.sent
    rig.run(2 * S)
    assert answered(became)
    assert rig.sent[0][1][1] == READ


def test_what_was_known_of_one_port_is_not_believed_of_the_next() -> None:
    """The one echoed, the other one does not: there the copy of a write is its answer."""
    rig = ErrandRig([Poll(period=100 * MS)], lambda request, n: [(0, request), *device(request, n)]).run(1050 * MS)
    rig.bus.detach(rig.now)
    rig.bus.attach(rig.now)
    rig.answer, rig.wake = device, rig.now
    became = rig.offer(write())
    rig.run(3 * S)
    assert answered(became) == write()[1:-2]


def test_the_echo_of_a_write_is_not_its_answer() -> None:
    def echoing(request: bytes, _: int) -> list[tuple[int, bytes]]:
        return [(0, request), *(device(request, 0) if request[1] == READ else [])]

    rig = ErrandRig([Poll()], echoing).run(1050 * MS)
    became = rig.offer(write())
    rig.run(3 * S)
    assert [done.end for done in became] == ["timed-out"]


EVENTS = ("write", "write-many", "read", "detach", "attach", "adopt", "late", "deadline")


@settings(max_examples=80)
@given(
    events=st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 300)), max_size=40), seed=st.integers(0, 2**32)
)
def test_every_errand_has_one_outcome_and_is_sent_once_at_most(events: list[tuple[str, int]], seed: int) -> None:
    chance = random.Random(seed)

    busy_until: dict[int, int] = {}  # a unit has one transmitter

    def unreliable(request: bytes, _: int) -> list[tuple[int, bytes]]:
        answer = chance.choice([reply(request)] * 4 + [refusal(request), b"", b"\x01\x03\xff", reply(request)[:-1]])
        begins = max(rig.now + chance.choice([QUIET_NS] * 5 + [120 * MS, 200 * MS]), busy_until.get(request[0], 0))
        pieces = paced(answer, begins - rig.now)
        busy_until[request[0]] = rig.now + max((at for at, _ in pieces), default=0) + QUIET_NS
        return pieces

    rig = ErrandRig([Poll(unit=1, period=50 * MS, timeout=60 * MS), Poll(unit=2, period=80 * MS)], unreliable)
    attached, requests = True, []
    for value, (event, pause) in enumerate(events):
        rig.run(rig.now + pause * MS)
        if event == "detach" and attached:
            rig.bus.detach(rig.now)
            attached = False
        elif event == "attach" and not attached:
            rig.bus.attach(rig.now)
            attached = True
        elif event == "adopt":
            rig.bus.adopt(*plan_of([Poll(unit=1 + pause % 3, period=50 * MS)]), now=rig.now)
        elif len(rig.open) < ERRANDS:
            unit = 1 + value % 3
            request, size = (read(unit, value), 9) if event == "read" else (write(value, unit), 8)
            request = write_many(value, unit) if event == "write-many" else request
            deadline = rig.now + (20 * MS if event == "deadline" else 5 * S)
            rig.offer(request, size=size, timeout=60 * MS, deadline=deadline)
            requests.append(request)
        rig.wake = rig.now
    rig.run(rig.now + 12 * S)
    rig.collect()
    assert [len(became) for became in rig.all] == [1] * len(rig.all)
    sent = [done for [done] in rig.all if done.sent_ns]
    assert len({done.sent_ns for done in sent}) == len(sent)
    assert len(rig.sent_of(WRITE) + rig.sent_of(WRITE_MANY)) <= len(rig.all)
    assert {done.end for [done] in rig.all if not done.sent_ns} <= {"no-port", "too-late"}
    for request, [done] in zip(requests, rig.all, strict=True):
        assert done.end != "answered" or done.pdu == reply(request)[1:-2]
    assert not rig.wrong()


def test_the_longest_frame_there_is_is_sent_and_answered() -> None:
    rig = ErrandRig(
        [Poll()], lambda request, _: paced(request if request[1] == LOOP_BACK else reply(request), QUIET_NS)
    )
    rig.run(1050 * MS)
    request = with_crc(bytes([1, LOOP_BACK, 0, 0, *range(LONGEST_RTU - 6)]))
    became = rig.offer(request, size=LONGEST_RTU)
    rig.run(5 * S)
    assert [done.end for done in became] == ["answered"]


@pytest.mark.parametrize(
    ("tcp", "request_bytes", "answer_bytes", "why"),
    [
        (False, 3, 8, "3 bytes are not a frame"),
        (False, LONGEST_RTU + 1, 8, "257 bytes are not a frame"),
        (False, LONGEST_TCP, 8, "260 bytes are not a frame"),
        (False, 8, LONGEST_RTU + 1, "no answer has 257 bytes"),
        (True, 7, 12, "7 bytes are not a frame"),
        (True, LONGEST_TCP + 1, 12, "261 bytes are not a frame"),
        (True, 12, LONGEST_TCP + 1, "no answer has 261 bytes"),
    ],
)
def test_what_no_frame_of_the_line_holds_is_refused(tcp: bool, request_bytes: int, answer_bytes: int, why: str) -> None:
    line, now = (links.LinkRig([links.Poll()]).link, []) if tcp else (ErrandRig([Poll()]).bus, [0])
    with pytest.raises(ValueError, match=why):
        line.offer(bytes(request_bytes), answer_bytes, S, S, *now)


def test_a_slot_that_is_none_is_refused() -> None:
    with pytest.raises(IndexError, match="slot 8 of 8"):
        ErrandRig([Poll()]).bus.take(ERRANDS)

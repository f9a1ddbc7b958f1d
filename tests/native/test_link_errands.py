"""Single requests over a TCP link, between its polls: when they go, what becomes of them, what they cost the polls."""

import itertools
import random
from collections.abc import Callable

import pytest
from errands import answered
from hypothesis import given, settings
from hypothesis import strategies as st
from link_errands import (
    MANY,
    READ,
    ROUND,
    WRITE,
    WRITE_MANY,
    ErrandRig,
    device,
    only_reads,
    read,
    refusal,
    reply,
    to_writes,
    write,
    write_many,
)
from links import MS, Poll, Request, S, frame, silent

from agent._native.busloop import ERRANDS, ERRANDS_IN_ROW


def adds_up(rig: ErrandRig) -> bool:
    counts = rig.counts
    ended = counts["ok"] + counts["exceptions"] + counts["timeouts"]
    return counts["transactions"] == len(rig.sent) == ended + rig.link.under_way()


# --- when ---


def test_on_an_idle_link_it_goes_at_once() -> None:
    rig = ErrandRig([Poll(period=10 * S)]).run(S)
    became = rig.offer(write(7))
    rig.run(2 * S)
    assert answered(became) == write(7)[7:]
    assert (became[0].sent_ns, became[0].done_ns) == (S, S + ROUND)


def test_one_at_a_time_it_goes_right_after_what_is_under_way_ahead_of_what_is_due() -> None:
    rig = ErrandRig(MANY, in_flight=1).run(S + 2 * MS)  # one of sixteen is being read
    rig.offer(write())
    rig.run(S + 50 * MS)
    assert [request.function for request in rig.sent if request.at >= S][:3] == [READ, WRITE, READ]


@settings(max_examples=60)
@given(
    width=st.sampled_from((1, 2, 5, 16)),
    polls=st.integers(1, 16),
    period=st.integers(1, 100),
    offers=st.lists(st.integers(0, 60), min_size=1, max_size=20),
)
def test_it_waits_for_one_place_in_the_window_at_most(width: int, polls: int, period: int, offers: list[int]) -> None:
    rig = ErrandRig([Poll(address=10 * at, period=period * MS) for at in range(polls)], in_flight=width).run(5 * S)
    for pause in offers:
        rig.run(rig.now + (2 * ROUND // MS + pause) * MS)
        offered, became = rig.now, rig.offer(write())
        rig.run(rig.now + 2 * ROUND + 1)
        assert answered(became)
        assert became[0].sent_ns - offered <= ROUND
    assert rig.most_under_way <= width
    assert rig.wrong == []


def test_those_of_one_unit_go_one_by_one_in_their_order() -> None:
    rig = ErrandRig(MANY, in_flight=16).run(S)
    outcomes = [rig.offer(write(value)) for value in range(ERRANDS)]
    assert rig.link.offer(write(9), 0, S, 10 * S) is None
    rig.run(2 * S)
    assert [request.quantity for request in rig.sent_of(WRITE)] == list(range(ERRANDS))
    for (earlier,), (later,) in itertools.pairwise(outcomes):
        assert later.sent_ns >= earlier.done_ns


def test_those_of_several_units_go_together_where_several_were_answered_before() -> None:
    polls = [Poll(unit=unit) for unit in range(1, 9)]
    rig = ErrandRig(polls, in_flight=16).run(S + 50 * MS)
    outcomes = [rig.offer(write_many(unit, unit=unit)) for unit in range(1, 9)]
    rig.run(2 * S)
    assert [answered(became) for became in outcomes] == [write_many(0)[7:12]] * 8
    assert {became[0].sent_ns for became in outcomes} == {S + 50 * MS}
    assert [request.pdu for request in rig.sent_of(WRITE_MANY)] == [write_many(unit)[7:] for unit in range(1, 9)]


def test_a_device_gets_its_gap_before_and_behind_it() -> None:
    others = [Poll(unit=2, address=10 * at) for at in range(4)]
    rig = ErrandRig([Poll(period=50 * MS, gap=20 * MS), *others], in_flight=16).run(1051 * MS)  # it is being asked
    rig.offer(write())
    rig.offer(write())
    rig.run(2 * S)
    times = [request.at for request in rig.sent if request.unit == 1]
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) == ROUND + 20 * MS
    assert [request.at for request in rig.sent_of(WRITE)] == [1050 * MS + (ROUND + 20 * MS) * at for at in (1, 2)]


def test_unit_0_is_a_device_like_any_other() -> None:
    rig = ErrandRig([Poll(unit=0)]).run(1050 * MS)
    became = rig.offer(write(unit=0))
    rig.run(2 * S)
    assert answered(became) == write()[7:]


def test_a_unit_that_nobody_reads_is_asked_as_well() -> None:
    rig = ErrandRig([Poll(unit=1)]).run(1050 * MS)
    became = rig.offer(read(unit=9))
    rig.run(2 * S)
    assert answered(became)[:2] == bytes([READ, 4])
    assert adds_up(rig)


# --- what they cost ---


def test_polls_keep_their_rate_and_their_grid_where_there_is_room() -> None:
    rig = ErrandRig([Poll(unit=unit, phase=unit * 20 * MS) for unit in (1, 2, 3)])
    for at in range(1, 100):
        rig.run(at * 100 * MS + 70 * MS)
        rig.offer(write(at, unit=2))
    rig.run(10 * S)
    assert rig.counts["overruns"] == 0
    assert [request.at for request in rig.sent_of(READ)] == sorted(
        unit * 20 * MS + at * 100 * MS for unit in (1, 2, 3) for at in range(100)
    )


@pytest.mark.parametrize("width", [1, 4, 16])
def test_a_flood_lets_a_due_poll_through_after_some_in_a_row(width: int) -> None:
    rig = ErrandRig([Poll(address=10 * at, period=MS) for at in range(20)], in_flight=width).run(S)
    begun = len(rig.sent)
    for at in range(400):
        while len(rig.open) < ERRANDS:
            rig.offer(write(unit=1 + (at + len(rig.open)) % 8))
        rig.run(rig.now + 2 * MS)
    functions = [request.function for request in rig.sent[begun:]]
    runs = [len(list(run)) for function, run in itertools.groupby(functions) if function == WRITE]
    assert max(runs) == ERRANDS_IN_ROW
    assert functions.count(READ) >= len(functions) // (ERRANDS_IN_ROW + 1) - 1
    assert functions.count(WRITE) >= 100
    assert rig.wrong == []


# --- what becomes of them ---


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (reply, "answered"),
        (refusal, "refused"),
        (lambda request: refusal(request, 0xFF), "refused"),
        (lambda _: b"", "timed-out"),
        (lambda request: reply(request._replace(transaction=request.transaction ^ 1)), "timed-out"),
        (lambda request: reply(request._replace(unit=9)), "timed-out"),
        (lambda request: reply(request._replace(unit=0xFF)), "timed-out"),
        (lambda request: frame(request.transaction, 1, b"\x05" + request.pdu[1:]), "timed-out"),
        (lambda request: frame(request.transaction, 1, request.pdu[:3] + b"\xaa\xaa"), "timed-out"),
        (lambda request: frame(request.transaction, 1, b"\x83\x02"), "timed-out"),
    ],
    ids=[
        "answer", "exception", "exception of unit FF", "nothing", "another number", "another unit", "unit FF",
        "another function", "another value", "exception of another function",
    ],
)  # fmt: skip
@pytest.mark.parametrize("width", [1, 4])
def test_the_outcome_is_told_once_and_nothing_is_sent_twice(
    answer: Callable[[Request], bytes], end: str, width: int
) -> None:
    rig = ErrandRig([Poll(period=100 * MS)], to_writes(answer), in_flight=width).run(1050 * MS)
    became = rig.offer(write())
    rig.run(20 * S)
    assert [done.end for done in became] == [end]
    assert len(rig.sent_of(WRITE)) == 1
    assert rig.link.take(0) is None
    assert rig.counts["overruns"] <= 3
    assert adds_up(rig)


def test_a_refusal_carries_its_code() -> None:
    rig = ErrandRig([Poll()], to_writes(refusal)).run(1050 * MS)
    became = rig.offer(write())
    rig.run(2 * S)
    assert became[0].pdu == bytes([WRITE | 0x80, 2])
    assert rig.counts["exceptions"] == 1


@pytest.mark.parametrize("late", [310, 350, 500, 900])
def test_the_late_answer_to_one_write_is_never_taken_for_that_to_the_next(late: int) -> None:
    writes = itertools.count()

    def answer(request: Request) -> list[tuple[int, bytes]]:
        if request.function == READ:
            return device(request)
        return [(late * MS, reply(request))] if next(writes) == 0 else []

    rig = ErrandRig([Poll()], answer).run(1050 * MS)
    first, second = rig.offer(write(1)), rig.offer(write(1))  # the very same, and lost
    rig.run(5 * S)
    assert [done.end for done in first + second] == ["timed-out", "timed-out"]
    assert rig.counts["stale_discarded"] == 1
    assert rig.wrong == []


def test_what_is_answered_twice_is_answered_once() -> None:
    rig = ErrandRig([Poll()], lambda request: device(request) * 2, in_flight=1).run(1050 * MS)
    outcomes = [rig.offer(write(1)) for _ in range(4)]
    rig.run(2 * S)
    assert [answered(became) for became in outcomes] == [write(1)[7:]] * 4
    times = [done.done_ns - done.sent_ns for [done] in outcomes]
    assert times == [ROUND] * 4
    assert rig.wrong == []


def test_without_a_connection_it_is_not_sent_and_says_so_at_once() -> None:
    rig = ErrandRig([Poll()]).run(1050 * MS)
    rig.link.detach(rig.now)
    became = rig.offer(write())
    rig.run(rig.now + 1)
    assert [(done.end, done.sent_ns) for done in became] == [("no-port", 0)]


def test_a_connection_that_is_lost_before_the_answer_leaves_it_open_whether_it_was_carried_out() -> None:
    rig = ErrandRig([Poll(unit=1), Poll(unit=2)], only_reads).run(1050 * MS)
    sent, waiting = [rig.offer(write(unit=unit)) for unit in (1, 2)], rig.offer(write(2))
    rig.run(1060 * MS)
    rig.reconnect()
    assert [done.end for done in [*sent[0], *sent[1], *waiting]] == ["lost", "lost", "no-port"]
    rig.run(5 * S)
    assert len(rig.sent_of(WRITE)) == 2
    assert adds_up(rig)


def test_a_stalled_connection_takes_what_is_under_way_with_it() -> None:
    rig = ErrandRig(MANY, in_flight=16).run(S)
    rig.answer = silent
    became = rig.offer(write(unit=9), timeout=100 * S)
    rig.run(10 * S)
    assert rig.stalls > 0
    assert [done.end for done in became] == ["lost"]


def test_past_its_deadline_it_is_not_sent_though_nothing_else_happens() -> None:
    rig = ErrandRig([Poll(period=100 * MS, timeout=S)], silent).run(50 * MS)
    became = rig.offer(write(), deadline=rig.now + 20 * MS)
    rig.run(2 * S)
    assert [(done.end, done.sent_ns, done.done_ns) for done in became] == [("too-late", 0, 70 * MS)]
    assert rig.sent_of(WRITE) == []


@pytest.mark.parametrize("gap", [0, 30 * MS])
def test_a_plan_that_changes_meanwhile_does_no_harm(gap: int) -> None:
    rig = ErrandRig([Poll(unit=2), Poll(unit=1)]).run(1050 * MS)
    became = rig.offer(write())
    rig.run(rig.now + 2 * MS)
    rig.adopt([Poll(unit=1, address=900, period=50 * MS, gap=gap)])
    rig.run(2 * S)
    assert answered(became)
    assert len(rig.sent_of(WRITE)) == 1
    following = [request.at for request in rig.sent if request.address == 900]
    assert len(following) > 10
    assert gap == 0 or following[0] >= became[0].done_ns + gap
    assert rig.device_counts(0)["ok"] >= len(following)


def test_a_suspect_is_asked_at_once_and_polled_at_its_full_rate_when_it_answers() -> None:
    polls = [Poll(unit=1), Poll(unit=2, timeout=20 * MS)]
    rig = ErrandRig(polls, lambda request: device(request) if request.unit == 1 else []).run(20 * S)
    rig.answer = device
    became = rig.offer(read(unit=2))
    begun = len(rig.sent)
    rig.run(22 * S)
    assert became[0].sent_ns == 20 * S
    assert len([request for request in rig.sent[begun:] if request.unit == 2]) >= 20


# --- every function ---


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("05 0005 ff00", "05 0005 ff00"),
        ("07", "07 6d"),
        ("08 0000 a537 1234", "08 0000 a537 1234"),
        ("0b", "0b ffff 0108"),
        ("0f 0005 0009 02 ff01", "0f 0005 0009"),
        ("11", "11 03 4142ff"),
        ("16 0005 fff0 0005", "16 0005 fff0 0005"),
        ("17 0001 0002 0005 0001 02 abcd", "17 04 00010002"),
        ("2b 0e 01 00", "2b 0e 01 81 ff 02 02 00 03 616263 01 01 78"),
    ],
)
def test_every_function_is_answered_by_its_own_answer(asked: str, answer: str) -> None:
    rig = ErrandRig([Poll()], to_writes(lambda request: frame(request.transaction, 1, bytes.fromhex(answer))))
    rig.run(1050 * MS)
    became = rig.offer(frame(0, 1, bytes.fromhex(asked)))
    rig.run(2 * S)
    assert answered(became) == bytes.fromhex(answer)


def test_an_answer_that_promises_more_than_its_frame_holds_is_none_and_holds_nobody_up() -> None:
    objects = bytes.fromhex("2b 0e 01 81 00 00 02 00 01 41")  # two of them, says it
    rig = ErrandRig([Poll()], to_writes(lambda request: frame(request.transaction, 1, objects)), in_flight=1)
    became = rig.run(1050 * MS).offer(frame(0, 1, bytes.fromhex("2b 0e 01 00")))
    rig.run(5 * S)
    assert [done.end for done in became] == ["timed-out"]
    assert (rig.stalls, rig.quirks["misfits"]) == (0, 1)
    assert rig.counts["timeouts"] == 1


# --- whatever happens ---


class Unreliable:
    """A device that answers late, twice, wrongly, partly or not at all, by chance."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def __call__(self, request: Request) -> list[tuple[int, bytes]]:
        whole, delay = reply(request), self.chance.choice((ROUND, ROUND, 20 * MS, 80 * MS, 400 * MS))
        what = self.chance.choice(("answer",) * 5 + ("refusal", "nothing", "twice", "other", "unit"))
        if what == "twice":
            return [(delay, whole), (delay + self.chance.randrange(100) * MS, whole)]
        answers = {
            "answer": whole,
            "refusal": refusal(request),
            "other": reply(request._replace(transaction=request.transaction ^ 0x5A5A)),
            "unit": reply(request._replace(unit=request.unit ^ 0x40)),
        }
        return [(delay, answers[what])] if what in answers else []


EVENTS = ("write", "write-many", "read", "detach", "attach", "adopt", "deadline")


def happens(rig: ErrandRig, event: str, value: int) -> bytes:
    """Offers an errand, or does something to the link; the PDU of the errand."""
    if event == "adopt":
        rig.adopt([Poll(unit=1 + value % 3, period=50 * MS, gap=value % 2 * 10 * MS)])
    elif event == "attach":
        rig.reconnect()
    elif event == "detach":
        rig.link.detach(rig.now)
    elif len(rig.open) < ERRANDS:
        unit = 1 + value % 3
        request = {"read": read(unit, 500 + value), "write-many": write_many(value, unit)}.get(
            event, write(value, unit)
        )
        rig.offer(request, timeout=60 * MS, deadline=rig.now + (20 * MS if event == "deadline" else 5 * S))
        return request[7:]
    return b""


@settings(max_examples=80)
@given(
    events=st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 120)), max_size=40),
    seed=st.integers(0, 2**32),
    width=st.sampled_from((1, 2, 4, 16)),
)
def test_every_errand_has_one_outcome_and_is_sent_once_at_most(
    events: list[tuple[str, int]], seed: int, width: int
) -> None:
    polls = [Poll(unit=1, period=50 * MS, timeout=60 * MS), Poll(unit=2, period=80 * MS)]
    rig = ErrandRig(polls, Unreliable(seed), in_flight=width).run(MS)
    requests = []
    for value, (event, pause) in enumerate(events):
        rig.run(rig.now + pause * MS)
        requests += [pdu for pdu in [happens(rig, event, value)] if pdu]
        rig.collect()
        rig.wake = rig.now
    rig.reconnect()
    rig.run(rig.now + 12 * S)
    assert [len(became) for became in rig.all] == [1] * len(rig.all)
    assert {done.end for [done] in rig.all if not done.sent_ns} <= {"no-port", "too-late"}
    writes = sorted(request.pdu for request in rig.sent if request.function != READ)
    told = zip(requests, rig.all, strict=True)
    assert writes == sorted(pdu for pdu, [done] in told if pdu[0] != READ and done.sent_ns)
    for pdu, [done] in zip(requests, rig.all, strict=True):
        assert done.end != "answered" or done.pdu[:5] == pdu[:5] or pdu[0] == READ
    assert rig.wrong == []


def test_what_cannot_be_an_errand_is_refused() -> None:
    rig = ErrandRig([Poll()])
    with pytest.raises(ValueError, match="7 bytes are not a frame"):
        rig.link.offer(write()[:7], 0, S, S)
    with pytest.raises(ValueError, match="no answer has 300 bytes"):
        rig.link.offer(write(), 300, S, S)
    with pytest.raises(IndexError, match="slot 8 of 8"):
        rig.link.take(ERRANDS)

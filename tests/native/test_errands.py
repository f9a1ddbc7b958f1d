"""Single requests between the polls: when they go, what becomes of them, and what they cost the polls."""

import itertools

import pytest
from bus_errands import (
    NO_SUCH_REGISTER,
    READ,
    WRITE,
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
from bus_rig import CHAR_NS, MS, QUIET_NS, US, Answer, Poll, S, answer_to, paced, plan_of
from errands import answered
from hypothesis import given, settings
from hypothesis import strategies as st

from agent._native.busloop import ERRANDS, ERRANDS_IN_ROW

# --- when ---


def test_on_an_idle_line_it_goes_at_once() -> None:
    rig = ErrandRig([Poll(period=10 * S)]).run(S)
    became = rig.offer(write(7))
    rig.run(2 * S)
    assert answered(became) == write(7)[1:-2]
    assert became[0].sent_ns == S
    assert S < became[0].done_ns < S + 10 * MS


def test_offered_within_a_transaction_it_goes_right_after_ahead_of_what_is_due() -> None:
    rig = ErrandRig([Poll(unit=unit, period=100 * MS, quantity=100) for unit in (1, 2, 3)]).run(10 * S)
    polled = len(rig.sent)
    rig.run(rig.sent[polled - 1][0] + 100 * MS + 5 * MS)  # unit 1 is being read, 2 and 3 are due
    before = len(rig.sent)
    rig.offer(write())
    rig.run(rig.now + 80 * MS)
    assert rig.sent[before][1] == write()
    assert rig.sent[before][0] - rig.heard_until[before] == pytest.approx(QUIET_NS, abs=100 * US)


@settings(max_examples=60)
@given(
    units=st.lists(st.integers(1, 5), min_size=1, max_size=5, unique=True),
    quantity=st.integers(1, 125),
    period=st.integers(10, 200),
    offers=st.lists(st.integers(0, 400), min_size=1, max_size=20),
)
def test_it_waits_for_one_transaction_at_most_and_never_breaks_the_silence(
    units: list[int], quantity: int, period: int, offers: list[int]
) -> None:
    rig = ErrandRig([Poll(unit=unit, period=period * MS, quantity=quantity) for unit in units]).run(5 * S)
    longest = (8 + 5 + 2 * max(quantity, 8)) * CHAR_NS + 2 * QUIET_NS + MS
    for pause in offers:
        rig.run(rig.now + (60 + pause) * MS)
        offered, became = rig.now, rig.offer(write())
        rig.run(rig.now + longest + 60 * MS)
        assert answered(became)
        assert became[0].sent_ns - offered <= longest
    gaps = [at - heard for (at, _), heard in zip(rig.sent, rig.heard_until, strict=True) if heard > 0]
    assert min(gaps) >= QUIET_NS
    assert not rig.wrong()


def test_a_device_gets_its_gap_before_and_behind_it() -> None:
    rig = ErrandRig([Poll(period=100 * MS, gap=40 * MS)]).run(1010 * MS)
    rig.offer(write())
    rig.offer(write())
    rig.run(2 * S)
    gaps = rig.waited[1:]
    assert min(gaps) >= 40 * MS


def test_those_of_one_unit_keep_their_order() -> None:
    rig = ErrandRig([Poll(period=10 * S)]).run(S)
    for value in range(ERRANDS):
        rig.offer(write(value))
    assert rig.bus.offer(write(9), 8, S, 10 * S, rig.now) is None
    rig.run(2 * S)
    assert [request for _, request in rig.sent if request[1] == WRITE] == [write(value) for value in range(ERRANDS)]


def test_one_that_must_wait_for_a_lost_answer_is_not_overtaken_by_the_next_to_its_unit() -> None:
    rig = ErrandRig([Poll(period=10 * S)], late_once(10 * S)).run(S)
    requests = [write(1), write(2), write_many(3)]
    for request in requests:
        rig.offer(request, timeout=50 * MS)
    rig.run(5 * S)
    assert [request for _, request in rig.sent if request[1] != READ] == requests


# --- what they cost ---


def test_polls_keep_their_rate_and_their_grid_where_there_is_room() -> None:
    polls = [Poll(unit=unit, period=100 * MS, phase=unit * 20 * MS) for unit in (1, 2, 3)]
    rig = ErrandRig(polls)
    for at in range(1, 100):
        rig.run(at * 100 * MS + 70 * MS)
        rig.offer(write(at, unit=2))
    rig.run(10 * S)
    assert rig.counts["overruns"] == 0
    assert [at for at, request in rig.sent if request[1] == READ] == sorted(
        poll.phase + k * 100 * MS for poll in polls for k in range(100)
    )


def test_a_flood_lets_a_due_poll_through_after_some_in_a_row() -> None:
    rig = ErrandRig([Poll(period=20 * MS)]).run(S)
    begun = len(rig.sent)
    for _ in range(400):
        while len(rig.open) < ERRANDS:
            rig.offer(write())
        rig.run(rig.now + 5 * MS)
    functions = [request[1] for _, request in rig.sent[begun:]]
    runs = [len(list(run)) for function, run in itertools.groupby(functions) if function == WRITE]
    assert max(runs) == ERRANDS_IN_ROW
    polls = functions.count(READ)
    assert polls >= len(functions) // (ERRANDS_IN_ROW + 1) - 1
    assert not rig.wrong()


# --- what becomes of them ---


def crippled(request: bytes, _: int) -> list[tuple[int, bytes]]:
    if request[1] == READ:
        return device(request, 0)
    return paced(reply(request)[:-1] + b"\x00", QUIET_NS)


def refusing(request: bytes, _: int) -> list[tuple[int, bytes]]:
    return device(request, 0) if request[1] == READ else paced(refusal(request), QUIET_NS)


@pytest.mark.parametrize(
    ("answer", "end"),
    [(device, "answered"), (refusing, "refused"), (only_reads, "timed-out"), (crippled, "damaged")],
    ids=["answered", "refused", "timed-out", "damaged"],
)
def test_the_outcome_is_told_once_and_nothing_is_sent_twice(answer: Answer, end: str) -> None:
    rig = ErrandRig([Poll(period=100 * MS)], answer).run(1050 * MS)
    became = rig.offer(write())
    rig.run(20 * S)
    assert [done.end for done in became] == [end]
    assert len(rig.sent_of(WRITE)) == 1
    assert rig.bus.take(0) is None


def test_a_refusal_carries_its_code() -> None:
    rig = ErrandRig([Poll()], refusing).run(1050 * MS)
    became = rig.offer(write())
    rig.run(2 * S)
    assert became[0].pdu == bytes([WRITE | 0x80, NO_SUCH_REGISTER])


def test_without_a_port_it_is_not_sent_and_says_so_at_once() -> None:
    rig = ErrandRig([Poll()]).run(1050 * MS)
    rig.bus.detach(rig.now)
    became = rig.offer(write())
    rig.run(rig.now + 1)
    assert [(done.end, done.sent_ns) for done in became] == [("no-port", 0)]


def test_a_port_that_is_lost_before_the_answer_leaves_it_open_whether_it_was_carried_out() -> None:
    rig = ErrandRig([Poll()], only_reads).run(1050 * MS)
    sent, waiting = rig.offer(write(1)), rig.offer(write(2))
    rig.run(1060 * MS)
    rig.bus.detach(rig.now)
    rig.collect()
    assert [done.end for done in sent + waiting] == ["lost", "no-port"]
    rig.bus.attach(rig.now)
    rig.wake = rig.now
    rig.run(5 * S)
    assert len(rig.sent_of(WRITE)) == 1


def test_past_its_deadline_it_is_not_sent() -> None:
    rig = ErrandRig([Poll(period=100 * MS, quantity=125)]).run(1001 * MS)
    became = rig.offer(write(), deadline=rig.now + MS)
    rig.run(2 * S)
    assert [(done.end, done.sent_ns) for done in became] == [("too-late", 0)]
    assert not rig.sent_of(WRITE)


def test_a_broadcast_is_over_when_the_units_had_their_time_and_owes_nothing() -> None:
    rig = ErrandRig([Poll(period=50 * MS)], lambda request, _: device(request, 0) if request[0] else []).run(1020 * MS)
    became = rig.offer(write(unit=0), timeout=150 * MS)
    rig.run(2 * S)
    [done] = became
    assert done.end == "broadcast"
    sent = [at for at, _ in rig.sent]
    following = sent[sent.index(done.sent_ns) + 1]
    assert following - done.sent_ns >= 8 * CHAR_NS + 150 * MS
    assert rig.counts["timeouts"] == 0


def test_it_waits_for_the_silence_that_another_unit_needs_and_still_goes_first() -> None:
    rig = ErrandRig([Poll(unit=1, period=1)], switch_ns=20 * MS).run(S)
    became = rig.offer(read(unit=9), size=9)
    rig.run(2 * S)
    assert answered(became)
    number = [request[0] for _, request in rig.sent].index(9)
    assert rig.sent[number][0] < S + 40 * MS
    assert [wait >= 20 * MS for wait in rig.waited[number : number + 3]] == [True, True, False]


def test_a_unit_that_is_in_no_plan_gets_t35_before_and_behind_it_where_silences_have_shrunk() -> None:
    rig = ErrandRig([Poll(unit=1, period=1)], least_ns=2 * CHAR_NS).run(20 * S)
    became = rig.offer(read(unit=9), size=9)
    rig.run(21 * S)
    assert answered(became)
    number = [request[0] for _, request in rig.sent].index(9)
    assert min(rig.waited[number : number + 2]) >= QUIET_NS > rig.waited[number - 1] > rig.waited[number + 2]


def test_one_that_fails_after_a_short_silence_brings_t35_back() -> None:
    rig = ErrandRig([Poll(unit=1, period=1)], least_ns=2 * CHAR_NS).run(20 * S)
    rig.answer = only_reads
    rig.offer(write(), timeout=50 * MS)
    rig.run(20 * S + 70 * MS)
    number = [request[1] for _, request in rig.sent].index(WRITE)
    assert min(rig.silences(1)[number + 1 :][:30]) >= QUIET_NS > rig.silences(1)[number]


def test_an_unknown_unit_is_asked_as_well() -> None:
    rig = ErrandRig([Poll(unit=1)]).run(1050 * MS)
    became = rig.offer(read(unit=9), size=9)
    rig.run(2 * S)
    assert answered(became) == answer_to(read(unit=9))[1:-2]


def test_a_plan_that_changes_meanwhile_does_no_harm() -> None:
    rig = ErrandRig([Poll(unit=2), Poll(unit=1)]).run(1050 * MS)
    became = rig.offer(write())
    rig.run(rig.now + 2 * MS)
    rig.bus.adopt(*plan_of([Poll(unit=3, period=50 * MS)]), now=rig.now)
    rig.wake = rig.now
    rig.run(2 * S)
    assert answered(became)
    assert len(rig.sent_of(WRITE)) == 1
    assert len(rig.sent_to(3)) > 10


def test_a_suspect_that_answers_one_is_polled_at_its_full_rate_again() -> None:
    rig = ErrandRig([Poll(unit=1), Poll(unit=2, timeout=20 * MS)], lambda r, _: device(r, 0) if r[0] == 1 else [])
    rig.run(20 * S)
    rig.answer = device
    rig.offer(read(unit=2), size=9)
    begun = len(rig.sent)
    rig.run(22 * S)
    assert len([request for _, request in rig.sent[begun:] if request[0] == 2]) >= 20

"""Single requests between the polls: when they go, what becomes of them, and what they cost the polls."""

import itertools
import random
import struct

import pytest
from bus_rig import CHAR_NS, LOOP_BACK, MS, QUIET_NS, US, Answer, Poll, Rig, S, answer_to, paced, plan_of
from errands import Done, Offers, answered
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import with_crc

from agent._native.busloop import ERRANDS, ERRANDS_IN_ROW
from agent.acquire import pdu

READ, WRITE_COIL, WRITE, WRITE_MANY, MASK = 3, 5, 6, 16, 22
MIRRORED = (WRITE_COIL, WRITE, MASK)
NO_SUCH_REGISTER = 2


def write(value: int = 1, unit: int = 1, register: int = 500) -> bytes:
    return with_crc(struct.pack(">BBHH", unit, WRITE, register, value))


def write_many(value: int, unit: int = 1) -> bytes:
    return with_crc(struct.pack(">BBHHBHH", unit, WRITE_MANY, 500, 2, 4, 0, value))


def read(unit: int = 1, register: int = 500, quantity: int = 2) -> bytes:
    return with_crc(struct.pack(">BBHH", unit, READ, register, quantity))


def reply(request: bytes) -> bytes:
    if request[1] in MIRRORED:
        return request
    return with_crc(request[:6]) if request[1] == WRITE_MANY else answer_to(request)


def refusal(request: bytes, code: int = NO_SUCH_REGISTER) -> bytes:
    return with_crc(bytes([request[0], request[1] | 0x80, code]))


def device(request: bytes, _: int) -> list[tuple[int, bytes]]:
    return paced(reply(request), QUIET_NS)


def only_reads(request: bytes, number: int) -> list[tuple[int, bytes]]:
    return device(request, number) if request[1] == READ else []


class ErrandRig(Offers, Rig):
    """A rig whose line is known not to echo, that offers errands and keeps what became of them."""

    def __init__(
        self, polls: list[Poll], answer: Answer = device, *, tcp: bool = False, switch_ns: int = 0, least_ns: int = 0
    ) -> None:
        super().__init__(polls, answer, tcp=tcp, switch_ns=switch_ns, least_ns=least_ns)

    def offer(self, request: bytes, *, timeout: int = 300 * MS, deadline: int = 1000 * S, size: int = 8) -> list[Done]:
        return self.keep(self.bus.offer(request, size, timeout, deadline, self.now))

    def _step(self) -> None:
        super()._step()
        self.collect()

    def collect(self) -> None:
        self.take_done(self.bus.take)

    def sent_of(self, function: int) -> list[int]:
        return [at for at, request in self.sent if request[1] == function]


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


@settings(deadline=None, max_examples=60)
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


def test_over_tcp_each_has_a_transaction_number_of_its_own() -> None:
    def tcp_device(request: bytes, _: int) -> list[tuple[int, bytes]]:
        answer = reply(with_crc(request[6:]))[:-2]
        return [(MS, request[:4] + struct.pack(">H", len(answer)) + answer)]

    rig = ErrandRig([Poll(period=50 * MS)], tcp_device, tcp=True).run(1020 * MS)
    adu = struct.pack(">HHH", 0, 0, 6) + write(5)[:-2]
    outcomes = [rig.offer(adu, size=12) for _ in range(3)]
    rig.run(2 * S)
    assert [answered(became) for became in outcomes] == [write(5)[1:-2]] * 3
    numbers = [request[:2] for _, request in rig.sent]
    assert len(set(numbers)) == len(numbers)


def test_a_suspect_that_answers_one_is_polled_at_its_full_rate_again() -> None:
    rig = ErrandRig([Poll(unit=1), Poll(unit=2, timeout=20 * MS)], lambda r, _: device(r, 0) if r[0] == 1 else [])
    rig.run(20 * S)
    rig.answer = device
    rig.offer(read(unit=2), size=9)
    begun = len(rig.sent)
    rig.run(22 * S)
    assert len([request for _, request in rig.sent[begun:] if request[0] == 2]) >= 20


# --- never a wrong outcome ---


def late_once(late_ns: int) -> Answer:
    """Answers reads, and the first write late."""
    writes = itertools.count()

    def answer(request: bytes, number: int) -> list[tuple[int, bytes]]:
        if request[1] == READ:
            return device(request, number)
        return paced(reply(request), late_ns) if next(writes) == 0 else []

    return answer


@pytest.mark.parametrize("late", [60, 90, 150, 240])
def test_the_late_answer_to_one_write_is_never_taken_for_that_to_the_next(late: int) -> None:
    rig = ErrandRig([Poll(period=100 * MS)], late_once(late * MS)).run(1050 * MS)
    first = rig.offer(write(1), timeout=50 * MS)
    second = rig.offer(write(1), timeout=50 * MS)  # the very same, and lost
    rig.run(5 * S)
    assert [done.end for done in first + second] == ["timed-out", "timed-out"]
    assert rig.counts["stale_discarded"] == 1
    assert not rig.wrong()


@pytest.mark.parametrize("late", [60, 90, 150])
def test_a_late_answer_of_a_length_nobody_knew_is_heard_and_is_not_that_to_the_next(late: int) -> None:
    identification = pdu.device_identification()
    told = with_crc(b"\x01" + bytes.fromhex("2b0e01010000010003") + b"old")
    asked = with_crc(b"\x01" + identification)
    answers = iter([paced(told, late * MS), []])

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


def test_the_echo_of_a_write_is_not_its_answer() -> None:
    def echoing(request: bytes, _: int) -> list[tuple[int, bytes]]:
        return [(0, request), *(device(request, 0) if request[1] == READ else [])]

    rig = ErrandRig([Poll()], echoing).run(1050 * MS)
    became = rig.offer(write())
    rig.run(3 * S)
    assert [done.end for done in became] == ["timed-out"]


EVENTS = ("write", "write-many", "read", "detach", "attach", "adopt", "late", "deadline")


@settings(deadline=None, max_examples=80)
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


@pytest.mark.parametrize("data_bytes", [250, 251, 254])
def test_an_answer_that_no_frame_holds_is_not_taken(data_bytes: int) -> None:
    rig = ErrandRig(
        [Poll()], lambda request, _: paced(request if request[1] == LOOP_BACK else reply(request), QUIET_NS)
    )
    rig.run(1050 * MS)
    request = with_crc(bytes([1, LOOP_BACK, 0, 0, *range(data_bytes)]))
    became = rig.offer(request, size=len(request))
    rig.run(5 * S)
    assert [done.end for done in became] == ["answered" if data_bytes == 250 else "timed-out"]


def test_what_cannot_be_an_errand_is_refused() -> None:
    rig = ErrandRig([Poll()])
    with pytest.raises(ValueError, match="3 bytes are not a frame"):
        rig.bus.offer(b"abc", 8, S, S, 0)
    with pytest.raises(ValueError, match="no answer has 300 bytes"):
        rig.bus.offer(write(), 300, S, S, 0)
    with pytest.raises(IndexError, match="slot 8 of 8"):
        rig.bus.take(ERRANDS)

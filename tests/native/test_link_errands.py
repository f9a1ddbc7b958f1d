"""Single requests among the polls of a TCP link: when they go, what becomes of them, and what they cost the polls."""

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from links import MS, LinkRig, Poll, S, after, frame, plan_of, silent

from agent._native.busloop import ENDS, ERRANDS, ERRANDS_IN_ROW
from agent.acquire import pdu

READING = (1, 2, 3, 4)
LATENCY = 5 * MS


class Done(NamedTuple):
    end: str
    pdu: bytes
    sent_ns: int
    done_ns: int


class Sent(NamedTuple):
    at: int
    transaction: int
    unit: int
    pdu: bytes


Reply = Callable[[Sent], list[tuple[int, bytes]]]


def same(sent: Sent) -> bytes:
    """The answer to a write: its copy."""
    return frame(sent.transaction, sent.unit, sent.pdu)


def obeys(sent: Sent) -> list[tuple[int, bytes]]:
    return [(LATENCY, same(sent))]


prompt = after(LATENCY)


class ErrandRig(LinkRig):
    """A rig that offers errands and keeps what became of them; `reply(sent)` answers those that are no polls."""

    def __init__(self, polls: list[Poll], reply: Reply = obeys, answer=prompt, **settings) -> None:
        self.reply = reply
        self.errands: list[Sent] = []
        self.order: list[str] = []
        self._open: dict[int, list[Done]] = {}
        super().__init__(polls, answer, **settings)

    def offer(self, request: bytes, *, unit: int = 1, timeout: int = 300 * MS, deadline: int = 1000 * S) -> list[Done]:
        """The list will hold what became of it, once."""
        slot = self.link.offer(frame(0, unit, request), pdu.answer_frame_bytes(request, is_tcp=True), timeout, deadline)
        assert slot is not None
        self.wake = self.now
        self._open[slot] = []
        return self._open[slot]

    def _step(self, received: bytes) -> None:
        super()._step(received)
        self.collect()

    def reconnect(self) -> None:
        super().reconnect()
        self.collect()

    def collect(self) -> None:
        for slot, became in list(self._open.items()):
            done = self.link.take(slot)
            if done is not None:
                became.append(Done(ENDS[done[0]], *done[1:]))
                del self._open[slot]

    def _send(self, adu: bytes) -> None:
        is_poll = adu[7] in READING
        self.order.append("poll" if is_poll else "errand")
        if is_poll:
            super()._send(adu)
            return
        sent = Sent(self.now, int.from_bytes(adu[:2]), adu[6], adu[7:])
        self.errands.append(sent)
        for delay, data in self.reply(sent):
            self.put(self.now + delay, data)


def pieces(data: bytes, points: list[int]) -> Iterator[bytes]:
    """Cut at these places."""
    cuts = sorted({point for point in points if point < len(data)})
    return (data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True))


def write(value: int) -> bytes:
    return pdu.write_register(500, struct.pack(">H", value))


# --- when ---


def test_on_an_idle_link_it_goes_at_once() -> None:
    rig = ErrandRig([Poll(period=10 * S)]).run(S)
    became = rig.offer(write(7))
    rig.run(2 * S)
    assert became == [Done("answered", write(7), S, S + LATENCY)]
    assert [sent.pdu for sent in rig.errands] == [write(7)]


def test_offered_while_the_link_is_full_it_goes_next_ahead_of_what_is_due() -> None:
    rig = ErrandRig([Poll(period=10 * MS, address=10 * at) for at in range(3)], in_flight=1).run(S + MS)
    before = len(rig.order)
    became = rig.offer(write(7))
    rig.run(S + 3 * LATENCY)
    assert rig.order[before] == "errand"
    assert became[0].sent_ns - (S + MS) <= LATENCY


def test_those_of_one_unit_go_one_after_the_other_and_others_beside_them() -> None:
    rig = ErrandRig([Poll(period=10 * S)], in_flight=8).run(S)
    for value in range(3):
        rig.offer(write(value))
    rig.offer(write(9), unit=2)
    rig.run(1050 * MS)
    assert [(sent.at - S, sent.unit, sent.pdu[-1]) for sent in rig.errands] == [
        (0, 1, 0), (0, 2, 9), (LATENCY, 1, 1), (2 * LATENCY, 1, 2),
    ]  # fmt: skip


def test_a_device_that_wants_a_gap_gets_it_before_and_behind_it() -> None:
    rig = ErrandRig([Poll(period=10 * MS, gap=20 * MS)]).run(S + MS)
    became = rig.offer(write(7))
    rig.run(S + 200 * MS)
    [done] = became
    polls = [request.at for request in rig.sent]
    assert min(done.sent_ns - at for at in polls if at < done.sent_ns) >= LATENCY + 20 * MS
    assert min(at - done.done_ns for at in polls if at > done.sent_ns) >= 20 * MS


def test_a_flood_lets_a_due_poll_through_after_some_in_a_row() -> None:
    rig = ErrandRig([Poll(period=10 * MS)], in_flight=1).run(S)
    begun = len(rig.order)
    for _ in range(40):
        while len(rig._open) < ERRANDS:
            rig.offer(write(1))
        rig.run(rig.now + LATENCY)
    runs = "".join(kind[0] for kind in rig.order[begun:]).split("p")
    assert max(map(len, runs)) == ERRANDS_IN_ROW
    assert len(runs) > 5


def test_past_its_deadline_it_is_not_sent() -> None:
    rig = ErrandRig([Poll(period=10 * S, timeout=2 * S)], answer=silent, in_flight=1).run(MS)
    became = rig.offer(write(7), deadline=S)
    rig.run(5 * S)
    assert [(done.end, done.sent_ns) for done in became] == [("too-late", 0)]
    assert not rig.errands


def test_its_deadline_is_that_of_sending_it_not_of_the_answer() -> None:
    rig = ErrandRig([Poll(period=10 * MS)], lambda sent: [(90 * MS, same(sent))]).run(S)
    became = rig.offer(write(7), deadline=S + 10 * MS)
    rig.run(2 * S)
    assert [done.end for done in became] == ["answered"]


def test_no_more_are_taken_than_there_are_slots() -> None:
    rig = ErrandRig([Poll()])
    for _ in range(ERRANDS):
        assert rig.link.offer(frame(0, 1, write(1)), 12, S, S) is not None
    assert rig.link.offer(frame(0, 1, write(1)), 12, S, S) is None
    with pytest.raises(IndexError):
        rig.link.take(ERRANDS)
    with pytest.raises(ValueError, match="not a frame"):
        rig.link.offer(b"abc", 12, S, S)


# --- what comes of it ---


ANSWERS = {
    "refused": lambda sent: frame(sent.transaction, sent.unit, bytes([sent.pdu[0] | 0x80, 2])),
    "timed-out": lambda sent: b"",
}
OTHERS = {
    "another number": lambda sent: frame(sent.transaction + 99, sent.unit, sent.pdu),
    "another unit": lambda sent: frame(sent.transaction, 9, sent.pdu),
    "another function": lambda sent: frame(sent.transaction, sent.unit, b"\x10" + sent.pdu[1:]),
    "another value": lambda sent: frame(sent.transaction, sent.unit, sent.pdu[:-1] + bytes([sent.pdu[-1] ^ 1])),
}


@pytest.mark.parametrize("end", ANSWERS)
def test_the_outcome_is_told_once_and_nothing_is_sent_twice(end: str) -> None:
    rig = ErrandRig([Poll(period=100 * MS)], lambda sent: [(LATENCY, ANSWERS[end](sent))]).run(S)
    became = rig.offer(write(7), timeout=50 * MS)
    rig.run(5 * S)
    assert [done.end for done in became] == [end]
    assert len(rig.errands) == 1
    assert not rig.wrong


@pytest.mark.parametrize("other", OTHERS)
def test_an_answer_to_something_else_is_none(other: str) -> None:
    rig = ErrandRig([Poll(period=100 * MS)], lambda sent: [(LATENCY, OTHERS[other](sent))]).run(S)
    became = rig.offer(write(7), timeout=50 * MS)
    rig.run(5 * S)
    assert [done.end for done in became] == ["timed-out"]


def test_a_late_answer_is_not_taken_for_that_to_the_same_request_again() -> None:
    late = iter([[(80 * MS, 1)], []])
    rig = ErrandRig([Poll(period=100 * MS)], lambda sent: [(delay, same(sent)) for delay, _ in next(late)]).run(S)
    both = [rig.offer(write(7), timeout=50 * MS), rig.offer(write(7), timeout=50 * MS)]
    rig.run(5 * S)
    assert [done.end for became in both for done in became] == ["timed-out", "timed-out"]
    assert rig.counts["stale_discarded"] == 1


def test_a_connection_that_is_lost_leaves_open_what_was_sent_and_says_what_was_not() -> None:
    rig = ErrandRig([Poll(period=10 * S)], lambda _: []).run(S)
    sent, waiting = rig.offer(write(1)), rig.offer(write(2))
    rig.run(S + LATENCY)
    rig.reconnect()
    assert [done.end for done in sent + waiting] == ["lost", "no-port"]
    assert (sent[0].sent_ns, waiting[0].sent_ns) == (S, 0)


def test_without_a_connection_it_is_not_sent_and_says_so_at_once() -> None:
    rig = ErrandRig([Poll()]).run(S)
    rig.link.detach(S)
    became = rig.offer(write(1))
    rig.run(S + MS)
    assert [done.end for done in became] == ["no-port"]


def test_a_plan_that_changes_meanwhile_does_no_harm() -> None:
    rig = ErrandRig([Poll(period=50 * MS)], lambda sent: [(30 * MS, same(sent))]).run(S + MS)
    became = rig.offer(write(7))
    rig.run(S + 10 * MS)
    rig.link.adopt(*plan_of([Poll(unit=5, period=50 * MS)]), now=rig.now)
    rig.run(2 * S)
    assert [done.end for done in became] == ["answered"]
    assert {request.unit for request in rig.sent[-5:]} == {5}


def test_a_suspect_that_answers_one_is_polled_at_its_full_rate_again() -> None:
    rig = ErrandRig([Poll(period=100 * MS)], answer=silent).run(20 * S)
    rig.answer = after(LATENCY)
    before = len(rig.sent)
    rig.offer(write(7))
    rig.run(22 * S)
    assert len(rig.sent) - before >= 18


def test_they_count_as_transactions_of_their_device() -> None:
    rig = ErrandRig([Poll(period=100 * S)]).run(S)
    before = rig.device_counts(0)
    rig.offer(write(7))
    rig.offer(write(7), unit=77)
    rig.run(2 * S)
    assert rig.device_counts(0)["transactions"] - before["transactions"] == 1
    assert rig.counts["transactions"] - before["transactions"] == 2
    assert rig.counts["ok"] - before["ok"] == 2


# --- every function ---

OBJECT = bytes([43, 14, 1, 1, 0, 0, 1, 0, 240]) + b"m" * 240
PAIRS = [
    (pdu.exception_status(), b"\x07\x6d"),
    (pdu.diagnostic(pdu.Diagnostic.BUS_ERRORS), b"\x08\x00\x0c\x00\x07"),
    (pdu.event_counter(), b"\x0b\x00\x00\x01\x08"),
    (pdu.event_log(), b"\x0c\x08\x00\x00\x01\x08\x01\x21\x20\x00"),
    (pdu.write_registers(1, bytes(246)), b"\x10\x00\x01\x00\x7b"),
    (pdu.server_id(), b"\x11\x03AB\xff"),
    (pdu.read_file((4, 1, 121)), b"\x14\xf4\xf3\x06" + bytes(242)),
    (pdu.write_file(4, 7, bytes(244)), pdu.write_file(4, 7, bytes(244))),
    (pdu.mask_write(1, b"ab", b"cd"), pdu.mask_write(1, b"ab", b"cd")),
    (pdu.read_write(1, 125, 1, bytes(242)), b"\x17\xfa" + bytes(250)),
    (pdu.read_fifo(1246), b"\x18\x00\x06\x00\x02\x01\xb8\x12\x84"),
    (pdu.device_identification(), OBJECT),
]


@settings(deadline=None, max_examples=40)
@given(order=st.permutations(range(len(PAIRS))), points=st.lists(st.integers(1, 400), max_size=40))
def test_every_function_is_carried_and_answered_among_polls_in_any_chunks(order, points) -> None:
    answers = dict(PAIRS)
    rig = ErrandRig(
        [Poll(period=10 * MS), Poll(unit=2, period=10 * MS, quantity=60)],
        lambda sent: [(LATENCY, frame(sent.transaction, sent.unit, answers[sent.pdu]))],
        in_flight=4,
    ).run(S)
    rig.cut = lambda data: pieces(data, points)
    for at in order:
        became = rig.offer(PAIRS[at][0], unit=1 + at % 3)
        rig.run(rig.now + 20 * MS)
        assert [(done.end, done.pdu) for done in became] == [("answered", PAIRS[at][1])]
    assert not rig.wrong
    assert rig.counts["timeouts"] == 0


def test_polls_keep_their_grid() -> None:
    rig = ErrandRig([Poll(period=100 * MS)]).run(S)
    for _ in range(5):
        rig.offer(write(1))
        rig.run(rig.now + 100 * MS)
    assert [request.at % (100 * MS) for request in rig.sent] == [0] * len(rig.sent)
    assert len(rig.sent) == 15

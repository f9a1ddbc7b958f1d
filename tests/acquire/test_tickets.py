"""Tickets: who may go when, what comes back, and that nothing is lost, with a loop that is moved by hand."""

import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from agent._native.busloop import ENDS
from agent._native.codec import TCP, frame
from agent.acquire import pdu
from agent.acquire.pdu import Ask
from agent.acquire.tickets import MAX_WAITING, WAIT_NS, Tickets
from agent.config.model import Bus, Table
from agent.errors import BusError, DeviceError, NotSentError

MS = 1_000_000
READ = pdu.read(Table.HOLDING, 1, 1)


class FakeLoop:
    """Slots that are finished by hand."""

    def __init__(self, slots: int = 8) -> None:
        self.bell = os.eventfd(0, os.EFD_NONBLOCK)
        self.free = list(range(slots))
        self.offered: dict[int, tuple[int, bytes, int, int, int]] = {}
        self.ended: dict[int, tuple[int, bytes, int, int]] = {}
        self.sent: list[bytes] = []

    def offer(self, line: int, request: bytes, answer_bytes: int, timeout_ns: int, deadline_ns: int) -> int | None:
        if not self.free:
            return None
        slot = self.free.pop(0)
        self.offered[slot] = line, request, answer_bytes, timeout_ns, deadline_ns
        self.sent.append(request)
        return slot

    def take(self, line: int, slot: int) -> tuple[int, bytes, int, int] | None:
        if slot not in self.ended or self.offered[slot][0] != line:
            return None
        del self.offered[slot]
        self.free.append(slot)
        return self.ended.pop(slot)

    def errand_fileno(self) -> int:
        return self.bell

    def finish(self, slot: int, end: str = "answered", answer: bytes = b"\x03\x02\x00\x07") -> None:
        self.ended[slot] = ENDS.index(end), answer, 1, 2
        os.eventfd_write(self.bell, 1)


@pytest.fixture
def loop() -> Iterator[FakeLoop]:
    made = FakeLoop()
    yield made
    os.close(made.bell)


def bus(name: str = "b", port: str = "/dev/x", protocol: str = "modbus-rtu") -> Bus:
    return Bus(name=name, port=port, protocol=protocol, timeout_ns=300 * MS, devices=())


@pytest.fixture
def tickets(loop: FakeLoop) -> Tickets:
    return Tickets(loop, [bus(), bus("t", "tcp://h:502", "modbus-tcp")])


def reading(unit: int = 1, times: int = 1) -> Generator[Ask, bytes, list[bytes]]:
    """Asks so often, and returns all answers; what fails ends it."""
    answers: list[bytes] = []
    for _ in range(times):
        answers += [(yield Ask(unit, READ))]
    return answers


def test_a_ticket_is_done_when_its_last_answer_is_there(loop: FakeLoop, tickets: Tickets, readable: Any) -> None:
    ticket = tickets.submit(0, reading(times=2), now_ns=5)
    assert loop.offered[0][1:] == (frame(0, 0, 1, READ), 7, 300 * MS, 5 + WAIT_NS)
    assert tickets.turn(6) == []
    loop.finish(0)
    assert readable(tickets.fileno(), 0)
    assert tickets.turn(7) == []
    assert not readable(tickets.fileno(), 0)
    [slot] = loop.offered
    loop.finish(slot)
    assert tickets.turn(8) == [ticket]
    assert (ticket.done, ticket.result, ticket.error) == (True, [b"\x03\x02\x00\x07"] * 2, None)
    assert not loop.offered


def test_requests_to_one_unit_go_one_ticket_after_the_other_and_other_units_beside(
    loop: FakeLoop, tickets: Tickets
) -> None:
    first = tickets.submit(0, reading(unit=1, times=2), 0)
    second = tickets.submit(0, reading(unit=1), 0)
    other = tickets.submit(0, reading(unit=2), 0)
    assert [request[0] for request in loop.sent] == [1, 2]
    loop.finish(1)
    assert tickets.turn(1) == [other]
    loop.finish(0)
    assert tickets.turn(2) == []
    assert [request[0] for request in loop.sent] == [1, 2, 1]
    loop.finish(*loop.offered)
    assert tickets.turn(3) == [first]
    loop.finish(*loop.offered)
    assert tickets.turn(4) == [second]


def test_what_finds_no_slot_waits_for_one(tickets: Tickets, loop: FakeLoop) -> None:
    for unit in range(1, 11):
        tickets.submit(0, reading(unit=unit), 0)
    assert len(loop.sent) == 8
    loop.finish(3)
    tickets.turn(1)
    assert [request[0] for request in loop.sent] == [*range(1, 10)]


def test_a_bus_that_cannot_follow_refuses_more(tickets: Tickets) -> None:
    for _ in range(MAX_WAITING):
        tickets.submit(0, reading(), 0)
    with pytest.raises(NotSentError, match="bus b: 32 requests wait already"):
        tickets.submit(0, reading(), 0)
    tickets.submit(1, reading(), 0)


@pytest.mark.parametrize(
    ("end", "answer", "error", "told"),
    [
        ("refused", b"\x83\x02", DeviceError, "it answered exception 2: it has no such register"),
        ("timed-out", b"", BusError, "bus b: no answer"),
        ("damaged", b"", BusError, "bus b: a damaged answer"),
        ("ambiguous", b"", BusError, "bus b: an exception that may belong to another request"),
        ("lost", b"", BusError, "bus b: the port was lost before the answer"),
        ("no-port", b"", NotSentError, "bus b: the port is not open"),
        ("too-late", b"", NotSentError, "bus b: the line or the device was not free within 10 s"),
    ],
)
def test_what_went_wrong_is_told_as_an_error(end, answer, error, told, loop: FakeLoop, tickets: Tickets) -> None:
    ticket = tickets.submit(0, reading(), 0)
    loop.finish(0, end, answer)
    assert tickets.turn(1) == [ticket]
    assert (type(ticket.error), str(ticket.error)) == (error, told)
    assert ticket.result is None
    assert len(loop.sent) == 1


def test_every_end_of_an_errand_has_words(loop: FakeLoop, tickets: Tickets) -> None:
    for end in ENDS:
        ticket = tickets.submit(0, reading(), 0)
        loop.finish(*loop.offered, end=end, answer=b"\x83\x02")
        assert tickets.turn(1) == [ticket]
        assert ticket.done


def test_modbus_tcp_has_frames_of_its_own_and_unit_0_is_a_unit_there(loop: FakeLoop, tickets: Tickets) -> None:
    tickets.submit(1, reading(unit=0), 0)
    assert loop.offered[0][:4] == (1, frame(TCP, 0, 0, READ), 11, 300 * MS)


def test_a_broadcast_leaves_the_devices_the_time_to_act(loop: FakeLoop, tickets: Tickets) -> None:
    tickets.submit(0, reading(unit=0), 0)
    assert loop.offered[0][3] == 200 * MS


def test_at_the_end_what_was_sent_is_in_doubt_and_what_was_not_is_known_not_to_be(
    loop: FakeLoop, tickets: Tickets
) -> None:
    sent, waiting = tickets.submit(0, reading(), 0), tickets.submit(0, reading(), 0)
    assert tickets.cancel("the agent has stopped") == [sent, waiting]
    assert (type(sent.error), type(waiting.error)) == (BusError, NotSentError)
    assert tickets.turn(1) == []


def test_what_was_done_by_the_end_is_told_as_it_was(loop: FakeLoop, tickets: Tickets) -> None:
    answered, unsent = tickets.submit(0, reading(1), 0), tickets.submit(0, reading(2), 0)
    loop.finish(0)
    loop.finish(1, "no-port", b"")
    assert tickets.cancel("the agent has stopped") == [answered, unsent]
    assert answered.result == [b"\x03\x02\x00\x07"]
    assert (type(unsent.error), str(unsent.error)) == (NotSentError, "the agent has stopped")


def test_steps_that_go_on_after_a_failure_are_followed_to_their_end(loop: FakeLoop, tickets: Tickets) -> None:
    def stubborn() -> Generator[Ask, bytes, str]:
        for _ in range(3):
            try:
                yield Ask(1, READ)
            except BusError:
                continue
        return "over"

    ticket = tickets.submit(0, stubborn(), 0)
    loop.finish(0, "timed-out", b"")
    assert tickets.turn(1) == []
    assert tickets.cancel("stopped") == [ticket]
    assert ticket.result == "over"

"""Asking a device what it is: all it says, in as many parts as it says it, and never without an end."""

from collections.abc import Callable

import pytest
from simulated import TCP, answers, play, tcp

from agent.acquire import pdu
from agent.acquire.inquiry import MAX_PARTS, Inquiry
from agent.acquire.pdu import Diagnostic
from agent.config.model import Table
from agent.devices.recognise import Place
from agent.errors import BusError, DeviceError

UNIT = 1
PLACES = [Place(Table.HOLDING, 11, 1), Place(Table.HOLDING, 35168, 2), Place(Table.INPUT, 7, 1)]
SILENCE, REFUSAL = BusError("no answer"), DeviceError("exception 1", 1)

Device = Callable[[bytes], bytes]


def inquire(device: Device, places=PLACES) -> tuple[Inquiry, list[bytes]]:
    """All that this device says, and what it was asked."""
    inquiry, asked = Inquiry(UNIT, places), []
    steps = inquiry.steps()
    answer: bytes | Exception | None = None
    while True:
        try:
            ask = steps.throw(answer) if isinstance(answer, Exception) else steps.send(answer)
        except StopIteration:
            return inquiry, asked
        assert ask.unit == UNIT
        asked.append(ask.request)
        try:
            answer = device(ask.request)
        except (BusError, DeviceError) as error:
            answer = error


def simulated(objects: dict[int, bytes] | None = None, server_id: bytes = b"") -> Device:
    """A unit of the simulator; its refusals are raised."""
    bus = play(framing=TCP)
    if objects:
        entries = [(17, 0, server_id)] if server_id else []
        entries += [(43, number, text) for number, text in sorted(objects.items())]
        bus.name(b"".join(bytes([UNIT, function, at, len(text)]) + text for function, at, text in entries))

    def device(request: bytes) -> bytes:
        answer = answers(bus, tcp(1, UNIT, request))[7:]
        if answer[0] & 0x80:
            raise DeviceError(pdu.refusal(answer[1]), answer[1])
        return answer

    return device


def but(device: Device, **replies: object) -> Device:
    """The device, with `fN` its answer to function N: raised, returned, or made of the request."""

    def answer(request: bytes) -> bytes:
        reply = replies.get(f"f{request[0]}", device)
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, bytes) else reply(request)

    return answer


def why(inquiry: Inquiry) -> dict[str, str]:
    return {reply.question: reply.why for reply in inquiry.replies if reply.why}


def test_a_device_that_knows_every_function_says_everything() -> None:
    device = simulated({0: b"maker", 1: b"M1", 2: b"3", 4: b"name", 0x90: b"own"}, b"\x08\xff")
    inquiry, asked = inquire(device)
    assert inquiry.objects == {0: b"maker", 1: b"M1", 2: b"3", 4: b"name", 0x90: b"own"}
    assert inquiry.server_id == b"\x08\xff"
    assert [len(held) for held in inquiry.registers.values()] == [2, 4, 2]
    assert inquiry.status is not None
    assert inquiry.events
    assert inquiry.events.log
    assert inquiry.loops_back
    assert list(inquiry.counters)[:2] == [Diagnostic.REGISTER, Diagnostic.BUS_MESSAGES]
    assert why(inquiry) == {}
    assert [reply.function for reply in inquiry.replies] == ["43/14", "17", "3 4", "7", "11", "12", "8"]
    assert len(set(asked)) == len(asked), "nothing is asked twice"


def test_levels_that_a_device_does_not_have_are_not_asked_for() -> None:
    _, asked = inquire(simulated({0: b"maker", 1: b"M1", 2: b"3"}))
    assert [request for request in asked if request[0] == 43] == [bytes([43, 14, 1, 0])]


def test_an_identification_in_many_parts_is_put_together() -> None:
    objects = {number: bytes([number]) * 100 for number in range(60)}
    inquiry, asked = inquire(simulated(objects))
    assert inquiry.objects == objects
    assert len([request for request in asked if request[0] == 43]) > 30


def part(first: int, following: int, level: int = 1) -> bytes:
    return bytes([43, 14, 1, level, 0xFF, following, 1, first, 1, 65])


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda request: part(0, 0), "it goes on with object 0 of its identification, which it has told"),
        (lambda request: part(request[3], 7) if request[3] == 0 else part(0, 9), "it does not go on with object 7"),
        (lambda request: part(request[3], request[3]), "it goes on with object 0"),
        (lambda request: part(request[3], request[3] + 1), f"does not end after {MAX_PARTS} answers"),
        (lambda request: bytes([43, 14, 1, 1, 0, 0, 2, 0, 1, 65]), "its answer to function 43 contradicts itself"),
    ],
)
def test_an_identification_without_an_end_has_one(answer, told: str) -> None:
    inquiry, asked = inquire(but(simulated(), f43=answer))
    assert told in why(inquiry)["identification"]
    assert len([request for request in asked if request[0] == 43]) <= MAX_PARTS
    assert inquiry.server_id, "the other questions are asked all the same"


def test_what_came_before_a_part_that_is_missing_is_kept() -> None:
    def answer(request: bytes) -> bytes:
        if request[3]:
            raise SILENCE
        return part(0, 1)

    inquiry, asked = inquire(but(simulated(), f43=answer))
    assert (inquiry.objects, why(inquiry)) == ({0: b"A"}, {"identification": "no answer"})
    assert len([request for request in asked if request[0] == 43]) == 2


def test_refusals_are_told_question_by_question() -> None:
    refusing = {f"f{function}": REFUSAL for function in (43, 17, 7, 11, 12, 8)}
    inquiry, _ = inquire(but(simulated(), **refusing))
    assert set(why(inquiry).values()) == {"exception 1"}
    assert len(why(inquiry)) == 6
    assert len(inquiry.registers) == len(PLACES)


def test_registers_that_are_not_there_are_no_reason_to_stop() -> None:
    def reads(request: bytes) -> bytes:
        if request[1:3] == b"\x00\x0b":
            raise DeviceError("exception 2", 2)
        return simulated()(request)

    inquiry, _ = inquire(but(simulated(), f3=reads))
    assert list(inquiry.registers) == PLACES[1:]
    assert why(inquiry) == {}


@pytest.mark.parametrize(("loop_back", "goes_on"), [(None, True), (REFUSAL, True), (SILENCE, False)])
def test_behind_a_silence_registers_are_read_on_when_the_device_is_in_step_again(loop_back, goes_on: bool) -> None:
    """The late answer to one register has the shape of the next one's."""

    def reads(request: bytes) -> bytes:
        if request[1:3] == b"\x00\x0b":
            raise SILENCE
        return simulated()(request)

    changed = {"f3": reads, **({"f8": loop_back} if loop_back else {})}
    inquiry, asked = inquire(but(simulated(), **changed))
    at = asked.index(pdu.read(Table.HOLDING, 11, 1))
    assert asked[at + 1][0] == 8
    assert list(inquiry.registers) == (PLACES[1:] if goes_on else [])
    assert ("registers" in why(inquiry)) is not goes_on


def test_a_device_that_answers_nothing_is_told_so_and_not_asked_more() -> None:
    asked = []

    def silent(request: bytes) -> bytes:
        asked.append(request[0])
        raise SILENCE

    with pytest.raises(BusError, match="no answer"):
        inquire(silent)
    assert asked == [43, 17, 3, 8]


@pytest.mark.parametrize(("code", "is_heard"), [(1, True), (6, True), (10, False), (11, False)])
def test_what_a_gateway_says_in_its_place_is_not_heard_of_the_device(code: int, is_heard: bool) -> None:
    def gateway(_: bytes) -> bytes:
        raise DeviceError(f"exception {code}", code)

    if is_heard:
        assert len(why(inquire(gateway)[0])) == 6
        return
    with pytest.raises(DeviceError, match=f"exception {code}"):
        inquire(gateway)


def test_counters_that_a_device_does_not_have_are_left_out() -> None:
    def diagnostics(request: bytes) -> bytes:
        if request[2] == Diagnostic.BUS_ERRORS:
            raise REFUSAL
        return simulated()(request)

    inquiry, _ = inquire(but(simulated(), f8=diagnostics))
    assert Diagnostic.BUS_ERRORS not in inquiry.counters
    assert Diagnostic.OVERRUNS in inquiry.counters

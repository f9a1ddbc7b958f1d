"""A value of a tag to what goes over the wire, and from what a device does to the outcome; no device, no clock."""

import struct
from collections.abc import Callable

import pytest

from agent._native.codec import answers
from agent.acquire import pdu
from agent.acquire.pdu import Ask
from agent.acquire.write import Change, Outcome, carry_out, change_of, encoded, value_of
from agent.config.model import Table, Tag, Write
from agent.errors import BusError, DeviceError, ExitCode, NotSentError, RefusedError
from agent.model import Order, ValueType

MakeTag = Callable[..., Tag]
LENGTHS = {ValueType.BCD32: 2, ValueType.I64: 4}


def holding(type_: ValueType, **settings) -> Tag:
    lengths = {"U32": 2, "I32": 2, "F32": 2, "BCD32": 2, "U64": 4, "I64": 4, "F64": 4}
    settings = {"length": lengths.get(type_.name, 1), **settings}
    return Tag(name="t", table=Table.HOLDING, address=100, type=type_, every_ns=1, **settings)


COIL = Tag(name="c", table=Table.COIL, address=5, type=ValueType.BOOL, every_ns=1)
BITS = holding(ValueType.BITS, bits=3, shift=4)


def request(tag: Tag, value, function: int = 0, before: bytes = b"") -> str:
    """The request that writes; the last but the reading back."""
    steps = carry_out(encoded("t", 1, tag, value, function))
    next(steps)
    held = before or (b"\0" if tag.table is Table.COIL else bytes(2 * max(1, (tag.length + 1) // 2, tag.length)))
    return steps.send(bytes([3, len(held)]) + held).request.hex(" ")


@pytest.mark.parametrize(
    ("tag", "value", "function", "expected"),
    [
        (COIL, 1, 0, "05 00 05 ff 00"),
        (COIL, "off", 0, "05 00 05 00 00"),
        (COIL, True, 15, "0f 00 05 00 01 01 01"),
        (holding(ValueType.U16), 7, 0, "06 00 64 00 07"),
        (holding(ValueType.U16), "0x1F", 0, "06 00 64 00 1f"),
        (holding(ValueType.U16), 7, 16, "10 00 64 00 01 02 00 07"),
        (holding(ValueType.U16, order=Order.BADC), 7, 0, "06 00 64 07 00"),
        (holding(ValueType.I16), -2, 0, "06 00 64 ff fe"),
        (holding(ValueType.BOOL), "on", 0, "06 00 64 00 01"),
        (holding(ValueType.BCD16), 1234, 0, "06 00 64 12 34"),
        (holding(ValueType.U32), 0x01020304, 0, "10 00 64 00 02 04 01 02 03 04"),
        (holding(ValueType.U32, order=Order.CDAB), 0x01020304, 0, "10 00 64 00 02 04 03 04 01 02"),
        (holding(ValueType.I32, order=Order.DCBA), -2, 0, "10 00 64 00 02 04 fe ff ff ff"),
        (holding(ValueType.F32), 3.25, 0, "10 00 64 00 02 04 40 50 00 00"),
        (holding(ValueType.F32), "-0.1", 0, "10 00 64 00 02 04 bd cc cc cd"),
        (holding(ValueType.F64), "1e2", 0, "10 00 64 00 04 08 40 59 00 00 00 00 00 00"),
        (holding(ValueType.TEXT, length=5), "abc", 0, "10 00 64 00 03 06 61 62 63 00 00 00"),
        (holding(ValueType.TEXT, length=3, is_wide=True), "ab", 0, "10 00 64 00 03 06 00 61 00 62 00 00"),
        (holding(ValueType.U16, scale=0.1), 12.3, 0, "06 00 64 00 7b"),
        (holding(ValueType.U16, scale=0.1), "12.3", 0, "06 00 64 00 7b"),
        (holding(ValueType.I16, scale=-0.5, offset=10.0), 11, 0, "06 00 64 ff fe"),
        (holding(ValueType.F32, scale=0.001), 0.25, 0, "10 00 64 00 02 04 43 7a 00 00"),
        (BITS, 5, 0, "16 00 64 ff 8f 00 50"),
        (holding(ValueType.BITS, bits=3, shift=4, order=Order.BADC), 5, 0, "16 00 64 8f ff 50 00"),
    ],
)
def test_a_value_is_written_as_its_tag_wants_it(tag: Tag, value, function: int, expected: str) -> None:
    assert request(tag, value, function) == expected


@pytest.mark.parametrize(
    ("function", "expected"), [(6, "06 00 64 12 d4"), (16, "10 00 64 00 01 02 12 d4"), (22, "16 00 64 ff 8f 00 50")]
)
def test_bits_leave_the_others_of_their_register_as_they_are(function: int, expected: str) -> None:
    assert request(BITS, 5, function, before=b"\x12\xa4") == expected


@pytest.mark.parametrize("type_", [type_ for type_ in ValueType if type_ not in (ValueType.TEXT, ValueType.BITS)])
@pytest.mark.parametrize("order", Order)
def test_what_is_encoded_is_read_back_as_the_same(type_: ValueType, order: Order) -> None:
    for value in (0, 1) if type_ is ValueType.BOOL else (0, 1, 77, 9999):
        tag = holding(type_, order=order)
        assert value_of(tag, encoded("t", 1, tag, value).data) == value


@pytest.mark.parametrize("is_wide", [False, True])
@pytest.mark.parametrize("order", Order)
def test_text_is_read_back_as_the_same(order: Order, is_wide: bool) -> None:
    tag = holding(ValueType.TEXT, length=5, order=order, is_wide=is_wide)
    assert value_of(tag, encoded("t", 1, tag, "abcd").data) == "abcd"


LIMITED = holding(ValueType.U16, scale=0.1, write=Write(min=0.1, max=10, step=0.3))


@pytest.mark.parametrize("value", [0.1, 0.4, 10, "9.7"])
def test_limits_and_steps_are_those_of_the_decimals(value) -> None:
    assert change_of("b/d/t", 1, LIMITED, value).value == value


REFUSALS = [
    (LIMITED, 0, "b/d/t: 0 is outside of 0.1 to 10, which it allows"),
    (LIMITED, 10.1, "b/d/t: 10.1 is outside of 0.1 to 10, which it allows"),
    (LIMITED, 0.5, "b/d/t: 0.5 is not in steps of 0.3 from 0.1"),
    (holding(ValueType.U16), 1, "b/d/t is read-only; its tag has no `write = { min = .., max = .. }`"),
]
UNFIT = [
    (holding(ValueType.U16, scale=0.1), 12.34, "t: 12.34 is no whole number of 0.1; 12.3 and 12.4 are"),
    (holding(ValueType.U16), 1.5, "t: 1.5 is no whole number; 1 and 2 are"),
    (holding(ValueType.U16), 65536, "t: 65536 does not fit; the type holds 0 to 65535"),
    (holding(ValueType.U16), -1, "t: -1 does not fit; the type holds 0 to 65535"),
    (holding(ValueType.I16, scale=-1.0), 32769, "t: 32769 does not fit; the type holds -32767 to 32768"),
    (holding(ValueType.BCD16), 10000, "t: 10000 does not fit; the type holds 0 to 9999"),
    (BITS, 8, "t: 8 does not fit; the type holds 0 to 7"),
    (COIL, 2, "t: 2 does not fit; the type holds 0 to 1"),
    (holding(ValueType.F32), 1e39, "t: 1e+39 does not fit into f32"),
    (holding(ValueType.F32), "nan", "t: nan is no number"),
    (holding(ValueType.F32), float("inf"), "t: inf is no number"),
    (holding(ValueType.U16), "1/3", "t: 1/3 is no number"),
    (holding(ValueType.U16), "1e999999999", "t: 1e999999999 is no number"),
    (holding(ValueType.U16), "", "t:  is no number"),
    (holding(ValueType.TEXT, length=2), "abc", "t: 3 bytes of text do not fit; it holds 2"),
    (holding(ValueType.TEXT, length=250), "abc", "t: one request writes 246 bytes of text at most"),
    (holding(ValueType.TEXT, length=124, is_wide=True), "abc", "t: one request writes 123 bytes of text at most"),
    (Tag(name="i", table=Table.INPUT, address=1, type=ValueType.U16, every_ns=1), 1, "t: the input table is read-only"),
]


@pytest.mark.parametrize(("tag", "value", "told"), REFUSALS)
def test_what_the_tag_does_not_allow_is_refused_with_tag_value_and_limit(tag: Tag, value, told: str) -> None:
    with pytest.raises(RefusedError) as refused:
        change_of("b/d/t", 1, tag, value)
    assert str(refused.value) == told
    assert refused.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(("tag", "value", "told"), UNFIT)
def test_what_the_type_cannot_hold_is_refused(tag: Tag, value, told: str) -> None:
    with pytest.raises(RefusedError) as refused:
        encoded("t", 1, tag, value)
    assert str(refused.value).startswith(told)


def test_a_function_that_cannot_write_the_tag_is_refused() -> None:
    with pytest.raises(RefusedError, match="t is written with function 5 or 15, not 6"):
        encoded("t", 1, COIL, 1, 6)


# --- what comes of it ---


class Registers:
    """A device with one register and one coil; `does` says what happens to each request: answer, obey or an error."""

    def __init__(self, held: int = 3, does: list | None = None) -> None:
        self.held = held
        self.does = does or []
        self.asked: list[int] = []

    def answer(self, ask: Ask) -> bytes:
        function = ask.request[0]
        self.asked.append(function)
        what = self.does.pop(0) if self.does else None
        if what == "keeps":
            return ask.request[:5]
        if (function == pdu.WRITE_REGISTER and what is None) or isinstance(what, tuple):
            self.held = struct.unpack_from(">H", ask.request, 3)[0]
        error = what[1] if isinstance(what, tuple) else what
        if isinstance(error, Exception):
            raise error
        return ask.request if function == pdu.WRITE_REGISTER else b"\x03\x02" + struct.pack(">H", self.held)


def outcome_of(device: Registers, change: Change) -> Outcome:
    steps = carry_out(change)
    ask = next(steps)
    try:
        while True:
            try:
                answer = device.answer(ask)
            except (BusError, DeviceError) as error:
                ask = steps.throw(error)
            else:
                ask = steps.send(answer)
    except StopIteration as end:
        return end.value


SEVEN = encoded("t", 1, holding(ValueType.U16), 7)
SILENCE, REFUSAL, BUSY = BusError("no answer"), DeviceError("exception 2", 2), DeviceError("exception 5", 5)
READ, WRITE = 3, 6


@pytest.mark.parametrize(
    ("does", "expected", "asked"),
    [
        ([], Outcome("written", 3, 7), [READ, WRITE, READ]),
        ([None, "keeps"], Outcome("differs", 3, 3, "the device took 7 and holds 3"), [READ, WRITE, READ]),
        ([None, REFUSAL], Outcome("refused", 3, None, "exception 2"), [READ, WRITE]),
        ([SILENCE], Outcome("failed", None, None, "no answer; nothing was written"), [READ]),
        ([None, NotSentError("no port")], Outcome("failed", 3, None, "no port; nothing was written"), [READ, WRITE]),
        ([None, SILENCE], Outcome("differs", 3, 3, "no answer"), [READ, WRITE, READ]),
        (
            [None, ("obeys", SILENCE)],
            Outcome("written", 3, 7, "no answer; but it holds the value now"),
            [READ, WRITE, READ],
        ),
        (
            [None, ("obeys", BUSY)],
            Outcome("written", 3, 7, "exception 5; but it holds the value now"),
            [READ, WRITE, READ],
        ),
        (
            [None, SILENCE, SILENCE],
            Outcome("failed", 3, None, "no answer; nor can be read back whether it has obeyed: no answer"),
            [READ, WRITE, READ],
        ),
        ([REFUSAL], Outcome("written", None, 7), [READ, WRITE, READ]),
        (
            [REFUSAL, None, REFUSAL],
            Outcome("unverified", None, None, "it cannot be read back: exception 2"),
            [READ, WRITE, READ],
        ),
    ],
    ids=str,
)
def test_the_outcome_tells_what_is_known_and_a_write_is_sent_once(does, expected, asked) -> None:
    device = Registers(does=list(does))
    assert outcome_of(device, SEVEN) == expected
    assert device.asked == asked


def test_bits_whose_register_cannot_be_read_are_not_written_over_the_others() -> None:
    device = Registers(does=[REFUSAL])
    outcome = outcome_of(device, encoded("t", 1, BITS, 5, 6))
    assert (outcome.result, device.asked) == ("refused", [READ])


def test_a_broadcast_is_one_request_that_is_not_read_back() -> None:
    device = Registers(does=["keeps"])
    assert outcome_of(device, SEVEN._replace(unit=0)).result == "unverified"
    assert device.asked == [WRITE]


# --- requests and answers ---


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (pdu.read(Table.HOLDING, 1, 3), "03 06 00 01 00 02 00 03"),
        (pdu.read(Table.DISCRETE, 1, 9), "02 02 ff 01"),
        (pdu.write_coil(5, on=True), "05 00 05 ff 00"),
        (pdu.write_coils(5, [True] * 9), "0f 00 05 00 09"),
        (pdu.write_registers(5, bytes(6)), "10 00 05 00 03"),
        (pdu.mask_write(5, b"\xff\xf0", b"\x00\x05"), "16 00 05 ff f0 00 05"),
        (pdu.read_write(1, 2, 5, bytes(4)), "17 04 00 01 00 02"),
        (pdu.exception_status(), "07 6d"),
        (pdu.loop_back(0xA537), "08 00 00 a5 37"),
        (pdu.event_counter(), "0b ff ff 01 08"),
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else "",
)
def test_the_length_of_an_answer_is_known_beforehand(asked: bytes, answer: str) -> None:
    whole = bytes.fromhex(answer)
    assert pdu.answer_bytes(asked) == len(whole)
    assert answers(asked, whole)


def test_answers_without_a_fixed_length_are_taken_apart() -> None:
    assert pdu.answer_bytes(pdu.server_id()) == pdu.answer_bytes(pdu.device_identification()) == 0
    assert pdu.data(bytes.fromhex("11 03 41 42 ff")) == b"AB\xff"
    answer = bytes.fromhex("2b 0e 01 81 ff 02 02 00 03") + b"abc" + bytes.fromhex("01 01") + b"x"
    assert pdu.identification(answer) == ({0: b"abc", 1: b"x"}, 2)
    assert pdu.events(bytes.fromhex("0b ff ff 01 08")) == (True, 264)
    assert pdu.coils(bytes.fromhex("01 02 05 01"), 9) == [True, False, True, False, False, False, False, False, True]
    assert pdu.status(bytes.fromhex("07 6d")) == 0x6D

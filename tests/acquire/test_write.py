"""A value of a tag to what goes over the wire, and from what a device does to the outcome; no device, no clock."""

import struct
from collections.abc import Callable

import pytest

from agent.acquire import pdu
from agent.acquire.pdu import Ask
from agent.acquire.write import Change, Outcome, carry_out, change_of, encoded, encoded_record, value_of
from agent.config.model import Table, Tag, Write
from agent.errors import BusError, DeviceError, ExitCode, NotSentError, RefusedError
from agent.model import Order, ValueType

MakeTag = Callable[..., Tag]
LENGTHS = {ValueType.BCD32: 2, ValueType.I64: 4}


def holding(type_: ValueType, **settings) -> Tag:
    lengths = {"U32": 2, "I32": 2, "F32": 2, "BCD32": 2, "U64": 4, "I64": 4, "F64": 4}
    settings = {"address": 100, "length": lengths.get(type_.name, 1), **settings}
    return Tag(name="t", table=Table.HOLDING, type=type_, every_ns=1, **settings)


COIL = Tag(name="c", table=Table.COIL, address=5, type=ValueType.BOOL, every_ns=1)
BITS = holding(ValueType.BITS, bits=3, shift=4)


def request(tag: Tag, value, function: int = 0, before: bytes = b"") -> str:
    """The request that writes; the last but the reading back."""
    steps = carry_out(encoded("t", 1, tag, value, function))
    asked = next(steps).request
    held = before or (b"\0" if tag.table is Table.COIL else bytes(2 * max(1, (tag.length + 1) // 2, tag.length)))
    return steps.send(bytes([asked[0], len(held)]) + held).request.hex(" ")


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
        (holding(ValueType.U16), 7, 23, "17 00 64 00 01 00 64 00 01 02 00 07"),
        (holding(ValueType.U32), 0x01020304, 23, "17 00 64 00 02 00 64 00 02 04 01 02 03 04"),
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


@pytest.mark.parametrize(
    ("tag", "held_", "said"),
    [
        (holding(ValueType.BCD16), "1a2b", "no BCD number (0x1a2b)"),
        (holding(ValueType.BCD16, scale=0.1, offset=5.0), "000f", "no BCD number (0x000f)"),
        (holding(ValueType.BCD32, order=Order.CDAB), "56780a34", "no BCD number (0x0a345678)"),
        (holding(ValueType.BCD16, scale=0.1), "0119", 11.9),
    ],
)
def test_of_digits_that_are_none_it_is_said_that_they_are_no_number(tag: Tag, held_: str, said) -> None:
    assert value_of(tag, bytes.fromhex(held_)) == said


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


READ, WRITE, BOTH = 3, 6, 23


class Registers:
    """A device with one register and one coil; `does` says what happens to each request: answer, obey or an error;
    of one that writes and reads a number: what is read."""

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
        if (function in (WRITE, BOTH) and what is None) or isinstance(what, tuple):
            self.held = struct.unpack_from(">H", ask.request, len(ask.request) - 2)[0]
        error = what[1] if isinstance(what, tuple) else what
        if isinstance(error, Exception):
            raise error
        return ask.request if function == WRITE else struct.pack(">BBH", function, 2, what or self.held)


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


IN_ONE = encoded("t", 1, holding(ValueType.U16), 7, 23)


@pytest.mark.parametrize(
    ("does", "expected", "asked"),
    [
        ([], Outcome("written", 3, 7), [READ, BOTH]),
        ([None, 3], Outcome("differs", 3, 3, "the device took 7 and holds 3"), [READ, BOTH, READ]),
        (
            [None, ("obeys", SILENCE)],
            Outcome("written", 3, 7, "no answer; but it holds the value now"),
            [READ, BOTH, READ],
        ),
        ([None, REFUSAL], Outcome("refused", 3, None, "exception 2"), [READ, BOTH]),
    ],
    ids=str,
)
def test_function_23_is_read_back_by_itself_and_once_more_where_it_tells_something_else(does, expected, asked) -> None:
    device = Registers(does=list(does))
    assert outcome_of(device, IN_ONE) == expected
    assert device.asked == asked


def test_a_device_that_answers_function_23_with_what_it_held_before_has_obeyed_when_it_is_looked_at() -> None:
    device = Registers()
    steps = carry_out(IN_ONE)
    steps.send(None)
    steps.send(bytes.fromhex("03020003"))
    assert steps.send(bytes.fromhex("17020003")).request[0] == READ
    with pytest.raises(StopIteration) as end:
        steps.send(bytes.fromhex("03020007"))
    assert end.value.value == Outcome("written", 3, 7)
    assert not device.asked


def test_function_23_writes_no_more_than_fits() -> None:
    with pytest.raises(RefusedError, match="t is written with function 16, not 23"):
        encoded("t", 1, holding(ValueType.TEXT, length=243), "a", 23)


# --- records of files ---


def test_a_record_is_read_written_with_21_and_read_back() -> None:
    steps = carry_out(encoded_record(4, 1, holding(ValueType.U32, address=7), 0x01020304))
    reading = pdu.read_file((4, 7, 2))
    assert next(steps) == Ask(1, reading)
    assert steps.send(bytes.fromhex("14060506aabbccdd")) == Ask(1, pdu.write_file(4, 7, b"\1\2\3\4"))
    assert steps.send(pdu.write_file(4, 7, b"\1\2\3\4")) == Ask(1, reading)
    with pytest.raises(StopIteration) as end:
        steps.send(bytes.fromhex("1406050601020304"))
    assert end.value.value == Outcome("written", 0xAABBCCDD, 0x01020304)


def test_bits_of_a_record_leave_the_others_as_they_are() -> None:
    steps = carry_out(encoded_record(4, 1, BITS, 5))
    next(steps)
    assert steps.send(bytes.fromhex("1404030612a4")).request == pdu.write_file(4, 100, b"\x12\xd4")


@pytest.mark.parametrize("change", [IN_ONE, encoded_record(4, 1, BITS, 5)], ids=["23", "21"])
def test_what_is_for_one_unit_is_not_broadcast(change: Change) -> None:
    with pytest.raises(StopIteration) as end:
        next(carry_out(change._replace(unit=0)))
    why = f"function {change.function} is for one unit; nothing was written"
    assert end.value.value == Outcome("refused", why=why)


def test_bits_whose_register_cannot_be_read_are_not_written_over_the_others() -> None:
    device = Registers(does=[REFUSAL])
    outcome = outcome_of(device, encoded("t", 1, BITS, 5, 6))
    assert (outcome.result, device.asked) == ("refused", [READ])


def test_a_broadcast_is_one_request_that_is_not_read_back() -> None:
    device = Registers(does=["keeps"])
    assert outcome_of(device, SEVEN._replace(unit=0)).result == "unverified"
    assert device.asked == [WRITE]

"""A tag and a value in; the checked write, step by step as requests, and what came of it, out; pure.

A write reads the old value, writes, and reads back. It is never repeated: when the device does not answer, the reading
back tells whether it has obeyed.
"""

import re
import struct
from collections.abc import Generator
from fractions import Fraction
from typing import NamedTuple

from agent._native import codec
from agent.acquire import pdu
from agent.acquire.checks import text_order
from agent.acquire.pdu import BROADCAST, Ask
from agent.config.model import Table, Tag
from agent.config.registers import SIGNED_BITS, Form, raw_span, registers_of
from agent.config.writes import functions_for
from agent.digits import shortest
from agent.errors import BusError, DeviceError, NotSentError, RefusedError
from agent.model import Order, ValueType

Value = int | float | str | bool

ACKNOWLEDGE = 5  # the exception that says: it has begun and will take long
WRITTEN, DIFFERS, UNVERIFIED, REFUSED, FAILED = "written", "differs", "unverified", "refused", "failed"

FLOATS = {ValueType.F32: ">f", ValueType.F64: ">d"}
BCD = (ValueType.BCD16, ValueType.BCD32)
MASK_64 = 0xFFFF_FFFF_FFFF_FFFF
WORDS = {"on": 1, "true": 1, "off": 0, "false": 0}
HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]{1,16}")
DECIMAL = re.compile(r"[+-]?\d{1,20}(\.\d{1,20})?([eE][+-]?\d{1,2})?")


class Change(NamedTuple):
    """One write, checked: it fits the tag's type and the tag's limits."""

    name: str
    unit: int
    tag: Tag
    value: Value
    data: bytes  # the registers as they go over the wire; of a coil and of bits: the number, in two bytes
    function: int
    file: int = 0  # the tag's address is a record of this one; 0: it is a register


class Outcome(NamedTuple):
    """What came of a write."""

    result: str  # WRITTEN ... FAILED
    old: Value | None = None  # None: it could not be read
    new: Value | None = None  # as read back
    why: str = ""  # what went wrong, for people; empty when it is WRITTEN


# --- before ---


def change_of(name: str, unit: int, tag: Tag, value: Value, function: int = 0) -> Change:
    """The write of one tag within its limits. Raises RefusedError, which names tag, value and limit."""
    if tag.write is None:
        raise RefusedError(f"{name} is read-only; its tag has no `write = {{ min = .., max = .. }}`")
    exact = _exact(name, value)
    if not _fraction(tag.write.min) <= exact <= _fraction(tag.write.max):
        raise RefusedError(f"{name}: {value} is outside of {tag.write.min:g} to {tag.write.max:g}, which it allows")
    step = _fraction(tag.write.step)
    if step and (exact - _fraction(tag.write.min)) % step:
        raise RefusedError(f"{name}: {value} is not in steps of {tag.write.step:g} from {tag.write.min:g}")
    return encoded(name, unit, tag, value, function or tag.write.function)


def encoded(name: str, unit: int, tag: Tag, value: Value, function: int = 0) -> Change:
    """The write of one value without limits but those of its type. Raises RefusedError."""
    if tag.table in (Table.INPUT, Table.DISCRETE):
        raise RefusedError(f"{name}: the {tag.table} table is read-only by definition")
    data = _text_data(name, tag, value) if tag.type is ValueType.TEXT else _number_data(name, tag, value)
    allowed = functions_for(tag.table, Form(tag.type, tag.length, tag.bits, tag.shift, tag.is_wide))
    if function and function not in allowed:
        raise RefusedError(f"{name} is written with function {' or '.join(map(str, allowed))}, not {function}")
    return Change(name, unit, tag, value, data, function or allowed[0])


def encoded_record(file: int, unit: int, tag: Tag, value: Value) -> Change:
    """The write of one value into records of a file, from that of the tag's address on. Raises RefusedError."""
    return encoded(f"file:{file}:{tag.address}", unit, tag, value)._replace(function=pdu.WRITE_FILE, file=file)


def _exact(name: str, value: Value) -> Fraction:
    """The number as it was written in decimals: 0.1 is a tenth."""
    if isinstance(value, float):
        value = repr(value)
    if not isinstance(value, str):
        return Fraction(value)
    word = value.strip().lower()
    if HEXADECIMAL.fullmatch(word):
        return Fraction(int(word, 16))
    if word not in WORDS and not DECIMAL.fullmatch(word):
        raise RefusedError(f"{name}: {value} is no number")
    return Fraction(WORDS.get(word, word))


def _fraction(setting: float) -> Fraction:
    return Fraction(repr(setting))


def _number_data(name: str, tag: Tag, value: Value) -> bytes:
    raw = (_exact(name, value) - _fraction(tag.offset)) / _fraction(tag.scale)
    if tag.type in FLOATS:
        bits = _float_bits(name, tag, value, raw)
    elif raw.denominator == 1:
        bits = _integer_bits(name, tag, value, raw.numerator)
    else:
        steps = "" if abs(tag.scale) == 1 else f" of {abs(tag.scale):g}"
        raise RefusedError(f"{name}: {value} is no whole number{steps}; {_neighbours(tag, raw)}")
    if tag.table is Table.COIL or tag.type is ValueType.BITS:
        return struct.pack(">H", bits)
    return codec.encode_value(tag.type, tag.order, bits)


def _neighbours(tag: Tag, raw: Fraction) -> str:
    below, above = sorted(float(at * _fraction(tag.scale) + _fraction(tag.offset)) for at in (raw // 1, raw // 1 + 1))
    return f"{below:g} and {above:g} are"


def _integer_bits(name: str, tag: Tag, value: Value, raw: int) -> int:
    span = raw_span(tag.type, tag.bits)
    if raw not in span:
        bounds = sorted((span[0] * tag.scale + tag.offset, span[-1] * tag.scale + tag.offset))
        raise RefusedError(f"{name}: {value} does not fit; the type holds {bounds[0]:g} to {bounds[1]:g}")
    return raw & MASK_64


def _float_bits(name: str, tag: Tag, value: Value, raw: Fraction) -> int:
    try:
        return int.from_bytes(struct.pack(FLOATS[tag.type], float(raw)), "big")
    except OverflowError:
        raise RefusedError(f"{name}: {value} does not fit into {tag.type.name.lower()}") from None


def _text_data(name: str, tag: Tag, value: Value) -> bytes:
    text = str(value).encode()
    if len(text) > tag.length:
        raise RefusedError(f"{name}: {len(text)} bytes of text do not fit; it holds {tag.length}")
    if registers_of(tag) > pdu.MAX_WRITE_REGISTERS:
        most = pdu.MAX_WRITE_REGISTERS * (1 if tag.is_wide else 2)
        raise RefusedError(f"{name}: one request writes {most} bytes of text at most")
    return codec.encode_text(text_order(tag), text.ljust(tag.length, b"\0"))


# --- the steps ---


def carry_out(change: Change, *, is_tcp: bool = False) -> Generator[Ask, bytes, Outcome]:
    """Yields requests and is sent the PDUs that answer them; BusError and DeviceError are thrown in where none does.

    `is_tcp`: over Modbus TCP unit 0 is a device, which answers.
    """
    if change.unit == BROADCAST and not is_tcp:
        if change.function in (pdu.READ_WRITE, pdu.WRITE_FILE):
            return Outcome(REFUSED, why=f"function {change.function} is for one unit; nothing was written")
        yield Ask(BROADCAST, request_of(change, b""))
        return Outcome(UNVERIFIED, why="a broadcast is not answered")
    try:
        before = yield from held(change.unit, change.tag, change.file)
        old = value_of(change.tag, before)
    except BusError as error:
        return Outcome(FAILED, why=f"{error}; nothing was written")
    except DeviceError as error:  # some registers can only be written
        before, old = b"", None
        if change.tag.type is ValueType.BITS and change.function != pdu.MASK_WRITE:
            return Outcome(REFUSED, why=f"its other bits cannot be read, to be kept: {error}; nothing was written")
    return (yield from _write(change, before, old))


def _write(change: Change, before: bytes, old: Value | None) -> Generator[Ask, bytes, Outcome]:
    unanswered = ""
    try:
        answer = yield Ask(change.unit, request_of(change, before))
        if change.function == pdu.READ_WRITE and _is_as_asked(change, pdu.data(answer)):
            return _compared(change, old, pdu.data(answer), unanswered)
    except NotSentError as error:
        return Outcome(FAILED, old, why=f"{error}; nothing was written")
    except BusError as error:
        unanswered = str(error)
    except DeviceError as error:
        if error.code != ACKNOWLEDGE:
            return Outcome(REFUSED, old, why=str(error))
        unanswered = str(error)
    return (yield from _verified(change, old, unanswered))


def _verified(change: Change, old: Value | None, unanswered: str) -> Generator[Ask, bytes, Outcome]:
    try:
        after = yield from held(change.unit, change.tag, change.file)
    except (BusError, DeviceError) as error:
        if unanswered:
            return Outcome(FAILED, old, why=f"{unanswered}; nor can be read back whether it has obeyed: {error}")
        return Outcome(UNVERIFIED, old, why=f"it cannot be read back: {error}")
    return _compared(change, old, after, unanswered)


def held(unit: int, tag: Tag, file: int = 0) -> Generator[Ask, bytes, bytes]:
    """What the registers or the coil of a tag hold; `file`: the records of this one instead."""
    quantity = 1 if tag.table is Table.COIL else registers_of(tag)
    if file:
        return pdu.records((yield Ask(unit, pdu.read_file((file, tag.address, quantity)))))[0]
    return pdu.data((yield Ask(unit, pdu.read(tag.table, tag.address, quantity))))


def request_of(change: Change, before: bytes) -> bytes:
    """The PDU that writes; `before` is what the register held, for bits without a mask."""
    tag, number = change.tag, int.from_bytes(change.data, "big")
    if tag.table is Table.COIL:
        single = change.function == pdu.WRITE_COIL
        on = bool(number)
        return pdu.write_coil(tag.address, on=on) if single else pdu.write_coils(tag.address, [on])
    data = change.data
    if tag.type is ValueType.BITS:
        keep = ~(((1 << tag.bits) - 1) << tag.shift) & 0xFFFF
        if change.function == pdu.MASK_WRITE:
            return pdu.mask_write(tag.address, _register(tag, keep), _register(tag, number << tag.shift))
        data = _register(tag, _whole(tag, before) & keep | number << tag.shift)
    if change.function == pdu.WRITE_FILE:
        return pdu.write_file(change.file, tag.address, data)
    if change.function == pdu.READ_WRITE:
        return pdu.read_write(tag.address, len(data) // 2, tag.address, data)
    if change.function == pdu.WRITE_REGISTER:
        return pdu.write_register(tag.address, data)
    return pdu.write_registers(tag.address, data)


# --- after ---


def _compared(change: Change, old: Value | None, after: bytes, unanswered: str) -> Outcome:
    new = value_of(change.tag, after)
    if _is_as_asked(change, after):
        why = f"{unanswered}; but it holds the value now" if unanswered else ""
        return Outcome(WRITTEN, old, new, why)
    return Outcome(DIFFERS, old, new, unanswered or f"the device took {change.value} and holds {new}")


def _is_as_asked(change: Change, after: bytes) -> bool:
    tag, number = change.tag, int.from_bytes(change.data, "big")
    if tag.table is Table.COIL:
        return after[0] & 1 == number
    if tag.type is ValueType.BITS:
        return _bits(tag, after) == number
    return after == change.data


def value_of(tag: Tag, data: bytes) -> Value:
    """What these registers, or this byte of coils, mean, in the tag's unit; of what is no BCD number that, in words."""
    if tag.table is Table.COIL:
        return data[0] & 1
    if tag.type is ValueType.TEXT:
        return _text(tag, data)
    if tag.type in FLOATS:
        number: float = struct.unpack(FLOATS[tag.type], _ordered(data, tag.order))[0]
        return shortest(number * tag.scale + tag.offset, tag.type)
    if tag.type in BCD and not _hex(tag, data).isdecimal():
        return f"no BCD number (0x{_hex(tag, data)})"
    scaled = _number(tag, data) * _fraction(tag.scale) + _fraction(tag.offset)
    return scaled.numerator if scaled.denominator == 1 else float(scaled)


def _text(tag: Tag, data: bytes) -> str:
    text = _ordered(data, tag.order & Order.BADC)
    text = text[1::2] if tag.is_wide else text[: tag.length]
    return text.rstrip(b"\0 ").decode(errors="replace")


def _number(tag: Tag, data: bytes) -> int:
    whole = _whole(tag, data)
    if tag.type is ValueType.BITS:
        return _bits(tag, data)
    if tag.type is ValueType.BOOL:
        return int(whole != 0)
    if tag.type in BCD:
        return int(_hex(tag, data))
    width = SIGNED_BITS.get(tag.type, 0)
    return whole - (1 << width) if width and whole >> width - 1 else whole


def _hex(tag: Tag, data: bytes) -> str:
    return _ordered(data, tag.order).hex()


def _bits(tag: Tag, data: bytes) -> int:
    return _whole(tag, data) >> tag.shift & (1 << tag.bits) - 1


def _whole(tag: Tag, data: bytes) -> int:
    return int.from_bytes(_ordered(data, tag.order), "big")


def _register(tag: Tag, number: int) -> bytes:
    return _ordered(number.to_bytes(2, "big"), tag.order)


def _ordered(data: bytes, order: int) -> bytes:
    """Register bytes as ABCD, or back: CDAB turns the words round, BADC the bytes of each, DCBA both."""
    words = [data[at : at + 2] for at in range(0, len(data), 2)]
    if order & Order.CDAB:
        words.reverse()
    return b"".join(word[::-1] if order & Order.BADC else word for word in words)

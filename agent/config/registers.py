"""The notations of registers, types and sentinels in, addresses, types, lengths and bits out; pure."""

import math
import re
from typing import NamedTuple

from agent.config.model import MAX_REGISTERS, Hole, Table, Tag
from agent.config.nodes import Node
from agent.config.report import did_you_mean
from agent.config.values import UnfitError, unfit
from agent.model import ValueType

ADDRESSES = 65_536  # per table: addresses are 16 bits
REGISTER_BITS = 16
MAX_TEXT = 2 * MAX_REGISTERS


class Register(NamedTuple):
    """A register as written: `number` counts from the tag's `base`."""

    table: Table
    number: int
    is_reference: bool  # 40101 notation: the number counts from 1 by definition


class Form(NamedTuple):
    """A type as written: what the raw bits mean and how much room they take."""

    type: ValueType
    length: int = 1  # registers; TEXT: bytes of text
    bits: int = 0
    shift: int = 0
    is_wide: bool = False  # TEXT: one character to a register


SIGNED_BITS = {ValueType.I16: 16, ValueType.I32: 32, ValueType.I64: 64}
UNSIGNED_MAX = {
    ValueType.BOOL: 1,
    ValueType.U16: 0xFFFF,
    ValueType.U32: 0xFFFF_FFFF,
    ValueType.U64: 0xFFFF_FFFF_FFFF_FFFF,
    ValueType.BCD16: 9_999,
    ValueType.BCD32: 99_999_999,
}


def raw_span(type_: ValueType, bits: int) -> range:
    """The whole numbers that a type of whole numbers holds; `bits`: of bit fields."""
    width = SIGNED_BITS.get(type_)
    most = (1 << width - 1) - 1 if width else UNSIGNED_MAX.get(type_, (1 << bits) - 1)
    return range(-most - 1 if width else 0, most + 1)


_NUMBER = r"0[xX][0-9A-Fa-f]{1,4}|\d{1,5}"
_ADDRESSED = re.compile(rf"([A-Za-z]+):({_NUMBER})")
_RANGE = re.compile(rf"([a-z]+):({_NUMBER})(?:-({_NUMBER}))?")
_REFERENCE = re.compile(r"([0134])(\d{4}|\d{5})")
_REFERENCE_TABLES = {"0": Table.COIL, "1": Table.DISCRETE, "3": Table.INPUT, "4": Table.HOLDING}
_NUMBER_TYPES = {
    "bool": Form(ValueType.BOOL),  # of a register: whether it is not 0
    "u16": Form(ValueType.U16),
    "i16": Form(ValueType.I16),
    "u32": Form(ValueType.U32, 2),
    "i32": Form(ValueType.I32, 2),
    "u64": Form(ValueType.U64, 4),
    "i64": Form(ValueType.I64, 4),
    "f32": Form(ValueType.F32, 2),
    "f64": Form(ValueType.F64, 4),
    "bcd16": Form(ValueType.BCD16),
    "bcd32": Form(ValueType.BCD32, 2),
}
_BOUNDED_TYPES = re.compile(r"(string|chars):(\d{1,4})|(bits):(\d{1,3})@(\d{1,3})")
_TABLES = ", ".join(Table)


def register(node: Node) -> Register:
    """`holding:100`, `input:0x64`, or a 40101 reference as number or text."""
    if isinstance(node.value, bool) or not isinstance(node.value, str | int):
        unfit(f'TABLE:ADDRESS like "holding:100", with one of {_TABLES}')
    written = str(node.value)
    reference = _REFERENCE.fullmatch(written)
    if reference:
        return Register(_REFERENCE_TABLES[reference[1]], int(reference[2]), is_reference=True)
    addressed = _ADDRESSED.fullmatch(written)
    if not addressed:
        unfit(f'TABLE:ADDRESS like "holding:100", with one of {_TABLES}')
    if addressed[1] not in set(Table):
        raise UnfitError(f"allowed tables: {_TABLES}" + did_you_mean(addressed[1], Table))
    return Register(Table(addressed[1]), _address(addressed[2]), is_reference=False)


def holes(node: Node) -> tuple[Hole, ...]:
    """`["holding:0x10-0x1F", "input:7"]`: first and last register of each range."""
    written = [item.value for item in node.value] if isinstance(node.value, list) else [None]
    return tuple(_hole(text) for text in written)


def _hole(text: object) -> Hole:
    match = _RANGE.fullmatch(text) if isinstance(text, str) else None
    if match is None or match[1] not in set(Table) or _address(match[2]) > _address(match[3] or match[2]):
        unfit('an array of ranges like ["holding:0x10-0x1F", "input:7"]')
    return Hole(Table(match[1]), _address(match[2]), _address(match[3] or match[2]))


def _address(written: str) -> int:
    return int(written, 16 if written[:2].lower() == "0x" else 10)


def form(node: Node) -> Form:
    """`f32`, `string:16`, `bits:4@8` ..."""
    listed = f"{', '.join(_NUMBER_TYPES)}, string:N, chars:N, bits:N@K"
    if not isinstance(node.value, str):
        unfit(listed)
    bounded = _BOUNDED_TYPES.fullmatch(node.value)
    if bounded:
        return _text(bounded[1], int(bounded[2])) if bounded[1] else _bits(int(bounded[4]), int(bounded[5]))
    if node.value not in _NUMBER_TYPES:
        unfit(listed + did_you_mean(node.value, _NUMBER_TYPES))
    return _NUMBER_TYPES[node.value]


def registers_of(value: Form | Tag) -> int:
    """How many registers (or bits of a bit table) a value takes."""
    return (value.length + 1) // 2 if value.type is ValueType.TEXT and not value.is_wide else value.length


def extent_of(tag: Tag) -> tuple[int, int]:
    """First register, and one past the last, that one request must read for a tag: its own and its power of ten."""
    first, end = tag.address, tag.address + registers_of(tag)
    if tag.scale_address is None:
        return first, end
    return min(first, tag.scale_address), max(end, tag.scale_address + 1)


def span_of(tag: Tag) -> int:
    """How many registers that is."""
    first, end = extent_of(tag)
    return end - first


def _text(word: str, length: int) -> Form:
    if word == "chars" and not 1 <= length <= MAX_REGISTERS:
        unfit(f"chars:1 to chars:{MAX_REGISTERS}, N characters of text, one to a register")
    if not 1 <= length <= MAX_TEXT:
        unfit(f"string:1 to string:{MAX_TEXT}, N bytes of text, two to a register")
    return Form(ValueType.TEXT, length, is_wide=word == "chars")


def _bits(count: int, shift: int) -> Form:
    if count < 1 or count + shift > REGISTER_BITS:
        unfit(f"bits:N@K with N bits from bit K, N at least 1 and N + K at most {REGISTER_BITS}")
    return Form(ValueType.BITS, 1, count, shift)


# --- values that are none ---

SENTINELS = ("sunspec", "largest")  # what a device says of all its values
NO_SENTINEL = "none"
_FLOATS = (ValueType.F32, ValueType.F64)
_SIGNED = (ValueType.I16, ValueType.I32, ValueType.I64)


class Sentinel(NamedTuple):
    """Which value is none: bits of the registers once they are in order; NaN and text of zeros alone."""

    bits: int | None = None
    is_empty: bool = False


def sentinel(node: Node) -> object:
    """A raw number, nan, or "none"; whether it fits is known with the type."""
    value = node.value
    if value != NO_SENTINEL and (isinstance(value, bool) or not isinstance(value, int | float)):
        unfit('the raw number that means "no value", like 0x7FFF or nan, or "none"')
    return value


def sentinel_of(form_: Form, own: object, of_device: str | None) -> Sentinel:
    """What a tag's own `sentinel`, or else its device's `sentinels`, is in bits. Raises UnfitError."""
    if own is None:
        return _usual_sentinel(form_, of_device)
    if own == NO_SENTINEL:
        return Sentinel()
    if isinstance(own, float) and math.isnan(own) and form_.type in _FLOATS:
        return Sentinel(is_empty=True)
    bits = REGISTER_BITS * form_.length
    if form_.type in (ValueType.TEXT, ValueType.BOOL, *_FLOATS):
        unfit('nan or "none"' if form_.type in _FLOATS else '"none"')
    if not isinstance(own, int) or not -(1 << bits - 1) <= own < 1 << bits:
        unfit(f"a whole number of {bits} bits")
    return Sentinel(own % (1 << bits))


def _usual_sentinel(form_: Form, of_device: str | None) -> Sentinel:
    """SunSpec: all ones, of signed numbers the smallest; other makers take the largest of these too."""
    if of_device is None or form_.type in (ValueType.BOOL, ValueType.BCD16, ValueType.BCD32):
        return Sentinel()
    if form_.type in _FLOATS or form_.type is ValueType.TEXT:
        return Sentinel(is_empty=True)
    bits = REGISTER_BITS * form_.length
    if form_.type in _SIGNED:
        smallest = 1 << bits - 1
        return Sentinel(smallest if of_device == "sunspec" else smallest - 1)
    return Sentinel((1 << bits) - 1)

"""The notations of registers and types in, table, address, type and length out; pure."""

import re
from typing import NamedTuple

from agent.config.model import MAX_REGISTERS, Hole, Table
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
_BOUNDED_TYPES = re.compile(r"(string):(\d{1,4})|(bits):(\d{1,3})@(\d{1,3})")
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
    listed = f"{', '.join(_NUMBER_TYPES)}, string:N, bits:N@K"
    if not isinstance(node.value, str):
        unfit(listed)
    bounded = _BOUNDED_TYPES.fullmatch(node.value)
    if bounded:
        return _text(int(bounded[2])) if bounded[1] else _bits(int(bounded[4]), int(bounded[5]))
    if node.value not in _NUMBER_TYPES:
        unfit(listed + did_you_mean(node.value, _NUMBER_TYPES))
    return _NUMBER_TYPES[node.value]


def registers_of(type_: ValueType, length: int) -> int:
    """How many registers (or bits of a bit table) a value takes."""
    return (length + 1) // 2 if type_ is ValueType.TEXT else length


def _text(length: int) -> Form:
    if not 1 <= length <= MAX_TEXT:
        unfit(f"string:1 to string:{MAX_TEXT}, N bytes of text, two to a register")
    return Form(ValueType.TEXT, length)


def _bits(count: int, shift: int) -> Form:
    if count < 1 or count + shift > REGISTER_BITS:
        unfit(f"bits:N@K with N bits from bit K, N at least 1 and N + K at most {REGISTER_BITS}")
    return Form(ValueType.BITS, 1, count, shift)

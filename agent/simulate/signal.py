"""A tag's definition and a time in, the raw value the simulator serves then out; formulas of _native/core/signal.h."""

import struct
from collections.abc import Callable

from agent.config.model import Table, Tag
from agent.model import ValueType

TICK_NS = 100_000_000
GOLDEN = 0x9E3779B97F4A7C15
STEP32 = 0x0001_0001
STEP64 = 0x0001_0001_0001_0001
MASK64 = (1 << 64) - 1
ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
POWERS = 4  # a register that scales others holds 0, -1, -2 or -3, always the same
TABLES = (Table.HOLDING, Table.INPUT, Table.COIL, Table.DISCRETE)  # numbered as enum ft_table

Raw = int | bytes  # 64 bits as in ft_sample.value; a text's bytes


def expected(tag: Tag, unit: int, wall_ns: int) -> Raw:
    """The raw value of `tag` on `unit` at a wall-clock time."""
    return raw_at(tag, unit, wall_ns // TICK_NS)


def is_right(tag: Tag, unit: int, raw: Raw, wall_ns: int, tolerance_ns: int) -> bool:
    """Whether `raw` is what the simulator served within `tolerance_ns` of `wall_ns`."""
    first, last = (wall_ns - tolerance_ns) // TICK_NS, (wall_ns + tolerance_ns) // TICK_NS
    return any(raw_at(tag, unit, tick) == raw for tick in range(first, last + 1))


def raw_at(tag: Tag, unit: int, tick: int) -> Raw:
    """The raw value of `tag` on `unit` in one tick of 100 ms."""
    identity = identity_of(unit, tag.table, tag.address)
    if tag.scale_address is not None:
        number = _signed(_FORMULAS[tag.type](identity, tick), tag.type)
        power = identity_of(unit, tag.table, tag.scale_address) % POWERS
        return _bits_of(">d", float(number) / 10.0**power)
    if tag.type is ValueType.TEXT:
        return _text(identity, tick, tag.length)
    if tag.type is ValueType.BITS:
        return _word(identity, tick) >> tag.shift & ((1 << tag.bits) - 1)
    return _FORMULAS[tag.type](identity, tick)


def identity_of(unit: int, table: Table, address: int) -> int:
    """64 bits that stand for one register of one unit."""
    return _mix(unit << 24 | TABLES.index(table) << 16 | address)


def record_at(unit: int, file: int, record: int) -> int:
    """What a record of a file holds that nobody has written; files have tables of their own behind the four."""
    return _mix(unit << 24 | len(TABLES) + file << 16 | record) & 0xFFFF


def _mix(x: int) -> int:
    x = (x + GOLDEN) & MASK64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK64
    return x ^ (x >> 31)


def _sum(identity: int, tick: int) -> int:
    return (identity + tick) & MASK64


def _word(identity: int, tick: int) -> int:
    return (identity + tick) & 0xFFFF


def _u32(identity: int, tick: int) -> int:
    return (identity + tick * STEP32) & 0xFFFF_FFFF


def _u64(identity: int, tick: int) -> int:
    return (identity + tick * STEP64) & MASK64


def _bit(identity: int, tick: int) -> int:
    return _mix((identity + ((tick + identity % 16) >> 4)) & MASK64) & 1


def _extended(value: int, bits: int) -> int:
    """A signed number of `bits` bits as one of 64."""
    return value - (1 << bits) & MASK64 if value >> (bits - 1) else value


def _signed(raw: int, kind: ValueType) -> int:
    """64 bits as the number they are."""
    return raw - (1 << 64) if kind in (ValueType.I16, ValueType.I32, ValueType.I64) and raw >> 63 else raw


def _bits_of(form: str, value: float) -> int:
    return int.from_bytes(struct.pack(form, value))


def _text(identity: int, tick: int, length: int) -> bytes:
    slow = identity + ((tick + identity % 64) >> 6)
    pieces = (_mix((slow + piece * GOLDEN) & MASK64) for piece in range((length + 7) // 8))
    codes = b"".join(piece.to_bytes(8, "little") for piece in pieces)
    return bytes(ALPHABET[code % 64] for code in codes[:length])


_FORMULAS: dict[ValueType, Callable[[int, int], int]] = {
    ValueType.BOOL: _bit,
    ValueType.U16: _word,
    ValueType.I16: lambda h, tick: _extended(_word(h, tick), 16),
    ValueType.U32: _u32,
    ValueType.I32: lambda h, tick: _extended(_u32(h, tick), 32),
    ValueType.U64: _u64,
    ValueType.I64: _u64,
    ValueType.F32: lambda h, tick: _bits_of(">f", _sum(h, tick) % (1 << 24) / 4),
    ValueType.F64: lambda h, tick: _bits_of(">d", _sum(h, tick) % (1 << 52) / 4),
    ValueType.BCD16: lambda h, tick: _sum(h, tick) % 10**4,
    ValueType.BCD32: lambda h, tick: _sum(h, tick) % 10**8,
}

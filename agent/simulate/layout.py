"""Devices in, the packed layout of their registers for the native server out."""

import struct
from collections.abc import Iterable, Sequence

from agent.config.model import Device, Table, Tag
from agent.config.registers import registers_of
from agent.model import Order, ValueType
from agent.simulate.signal import TABLES

UNIT_BYTES = 32
POWER = len(ValueType)  # FT_SIGNAL_POWER: a register that holds a power of ten
TEXT_WIDE = 4  # FT_TEXT_WIDE
SIGNAL = struct.Struct("=HHHBBBB")  # ft_signal of _native/core/signal.h

_STORED_AS = {
    ValueType.I16: ValueType.U16,
    ValueType.BITS: ValueType.U16,
    ValueType.I32: ValueType.U32,
    ValueType.I64: ValueType.U64,
}

Place = tuple[int, Table, int]  # unit, table, address


def arrange(devices: Sequence[Device]) -> tuple[bytes, list[str]]:
    """The ft_signals of all devices in order, and the names of the tags for which there is no place.

    The first tag that asks for a register has it; tags that read the same registers in the same way share them.
    """
    taken: dict[Place, bytes] = {}
    conflicts = [
        f"{device.name}/{tag.name}" for device in devices for tag in device.tags if not _claim(taken, tag, device.unit)
    ]
    signals = sorted({signal for signal in taken.values() if not _is_plain(signal)}, key=_place)
    return b"".join(signals), conflicts


def unit_bits(units: Iterable[int]) -> bytes:
    """Which units are played, a bit for each of 256."""
    bits = bytearray(UNIT_BYTES)
    for unit in units:
        bits[unit // 8] |= 1 << unit % 8
    return bytes(bits)


def pack_signal(tag: Tag, unit: int) -> bytes:
    """How the registers of `tag` are laid out, as an ft_signal; tags with equal ones can share registers."""
    stored = _STORED_AS.get(tag.type, tag.type)
    registers = registers_of(tag)
    text_bytes = tag.length if tag.type is ValueType.TEXT else 0
    order = _byte_order(tag.order) if text_bytes or registers == 1 else tag.order
    wide = TEXT_WIDE if tag.is_wide else 0
    return SIGNAL.pack(tag.address, registers, text_bytes, unit, TABLES.index(tag.table), stored, order | wide)


def _claim(taken: dict[Place, bytes], tag: Tag, unit: int) -> bool:
    if tag.table in (Table.COIL, Table.DISCRETE):
        return True
    wanted: dict[Place, bytes] = {}
    for signal in (pack_signal(tag, unit), *_power(tag, unit)):
        address, registers, *_ = SIGNAL.unpack(signal)
        wanted.update({(unit, tag.table, at): signal for at in range(address, address + registers)})
    if any(taken.get(place, signal) != signal for place, signal in wanted.items()):
        return False
    taken.update(wanted)
    return True


def _power(tag: Tag, unit: int) -> list[bytes]:
    """The register that scales the tag, if one does."""
    if tag.scale_address is None:
        return []
    return [SIGNAL.pack(tag.scale_address, 1, 0, unit, TABLES.index(tag.table), POWER, _byte_order(tag.order))]


def _byte_order(order: Order) -> Order:
    """What is left of an order where there are no words to swap."""
    return Order.BADC if order in (Order.BADC, Order.DCBA) else Order.ABCD


def _is_plain(signal: bytes) -> bool:
    """A register that is served the same without a tag."""
    *_, stored, order = SIGNAL.unpack(signal)
    return (stored, order) == (ValueType.U16, Order.ABCD)


def _place(signal: bytes) -> tuple[int, int, int]:
    address, _, _, unit, table, _, _ = SIGNAL.unpack(signal)
    return unit, table, address

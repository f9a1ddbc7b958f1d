"""Records of _native/core/sample.h in; the numbers and texts that they carry out."""

import struct

from agent.model import ValueType

RECORD = struct.Struct("=qQIIHBBI")  # ft_sample
TEXT_LAST = 0x80000000  # in its last field: no more bytes of this text follow


def text_value(raw: bytes) -> str:
    """UTF-8 where it is, else every byte the character of that number (ISO 8859-1)."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def number_value(kind: ValueType, raw: int) -> int | float:
    """The number that the 64 raw bits of a sample stand for."""
    if kind == ValueType.F32:
        return float(struct.unpack("=f", struct.pack("=I", raw & 0xFFFFFFFF))[0])
    if kind == ValueType.F64:
        return float(struct.unpack("=d", struct.pack("=Q", raw))[0])
    if kind in (ValueType.I16, ValueType.I32, ValueType.I64) and raw >> 63:
        return raw - (1 << 64)
    return raw

"""Records of _native/core/sample.h in; the numbers and texts that they carry out."""

import math
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


def in_json(value: float | str | None, raw: int | bytes, kind: ValueType) -> dict[str, object]:
    """The keys of a sample that carry its value: `v`, and `bits` where JSON has no word for it (docs/FORMAT.md)."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"v": None, "bits": _bits(raw if isinstance(raw, int) else 0, kind)}
    if isinstance(raw, bytes) and not _is_utf8(raw):
        return {"v": value, "bits": raw.hex()}
    return {"v": value}


def _bits(raw: int, kind: ValueType) -> str:
    return f"{raw & 0xFFFFFFFF:08x}" if kind == ValueType.F32 else f"{raw:016x}"


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True

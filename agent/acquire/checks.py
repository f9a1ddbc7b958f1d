"""A tag in, what _native/core/plan.h has for values that are none or cannot be out; pure."""

import math
import struct
from enum import IntFlag
from fractions import Fraction

from agent.config.model import Tag
from agent.model import ValueType

TEXT_WIDE = 4  # FT_TEXT_WIDE


class Flag(IntFlag):
    """FT_SENTINEL .. FT_SCALED."""

    SENTINEL = 1
    SENTINEL_NAN = 2
    SENTINEL_EMPTY = 4
    RANGE = 8
    SCALED = 16


def text_order(tag: Tag) -> int:
    """The order of a tag as ft_point has it, where it also says how wide the characters of a text are."""
    return tag.order | (TEXT_WIDE if tag.is_wide else 0)


def flags_of(tag: Tag) -> Flag:
    """What is to be looked at beyond the bits of the value."""
    empty = Flag.SENTINEL_EMPTY if tag.type is ValueType.TEXT else Flag.SENTINEL_NAN
    asked = {
        Flag.SENTINEL: tag.sentinel is not None,
        empty: tag.sentinel_empty,
        Flag.RANGE: tag.plausible is not None,
        Flag.SCALED: tag.scale_address is not None,
    }
    return Flag(sum(flag for flag, is_asked in asked.items() if is_asked))


def raw_range(tag: Tag) -> tuple[float, float]:
    """`plausible` as the sample's numbers have it: before scale and offset, which no rounding may shift a limit by.

    3 * 0.1 is more than 0.3 in floats, so the limits are computed from the decimals as they were written.
    """
    if tag.plausible is None:
        return 0.0, 0.0
    limits = sorted(_raw(tag, limit) for limit in tag.plausible)
    return limits[0], limits[1]


def _raw(tag: Tag, limit: float) -> float:
    if math.isinf(limit):
        return limit if tag.scale > 0 else -limit
    raw = float((_written(limit) - _written(tag.offset)) / _written(tag.scale))
    return _nearest_f32(raw) if tag.type is ValueType.F32 else raw


def _nearest_f32(limit: float) -> float:
    """What a device sends that means exactly the limit."""
    try:
        nearest: float = struct.unpack("=f", struct.pack("=f", limit))[0]
    except OverflowError:  # beyond any f32: no value is
        return limit
    return nearest


def _written(number: float) -> Fraction:
    return Fraction(repr(number))

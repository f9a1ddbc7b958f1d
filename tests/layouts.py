"""Packed records of _native/core in, fields by name out; an oracle for the layouts that the agent has of its own."""

import struct
from typing import NamedTuple

from agent._native.samples import Samples

RECORD = struct.Struct("=qQIIHBBI")  # sample.h: ft_sample
BLOCK = struct.Struct("=qqqqIIIIHHBBHH21sB")  # plan.h: ft_block
POINT = struct.Struct("=IHHBBBBHBBQdd")  # plan.h: ft_point
TEXT_LAST = 0x80000000


def packed_point(
    tag: int,
    at: int,
    length: int,
    value_type: int,
    *,
    order: int = 0,
    bits: int = 0,
    shift: int = 0,
    scale_at: int = 0,
    flags: int = 0,
    sentinel: int = 0,
    least: float = 0.0,
    most: float = 0.0,
) -> bytes:
    return POINT.pack(tag, at, length, value_type, order, bits, shift, scale_at, flags, 0, sentinel, least, most)


class Sample(NamedTuple):
    time_ns: int
    value: int
    tag: int
    group: int
    type: int
    quality: int
    detail: int
    part: int


def records(samples: Samples) -> list[Sample]:
    return [Sample(*fields) for fields in RECORD.iter_unpack(bytes(samples))]

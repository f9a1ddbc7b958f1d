"""Packed records of _native/core in, fields by name out; an oracle for the layouts that the agent has of its own."""

import struct
from typing import NamedTuple

from agent._native.samples import Samples

RECORD = struct.Struct("=qQIIHBBI")  # sample.h: ft_sample
BLOCK = struct.Struct("=qqqqIIIIHHBBHH22s")  # plan.h: ft_block
POINT = struct.Struct("=IHHBBBB")  # plan.h: ft_point
TEXT_LAST = 0x80000000


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

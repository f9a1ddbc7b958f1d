"""Fault specifications like `crc:0.05` in, the packed rules of one bus out."""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from agent.errors import UsageError
from agent.model import NS_PER_MS

PACKED = struct.Struct("=10QqB32s3xI")  # ft_faults
ALWAYS = 1 << 32  # FT_ALWAYS
# In the order of enum ft_fault; babble is noise that nobody asked for. Deaf devices hear no request that comes too soon
# after the line fell silent, which on an unpaced line none does.
CHANCES = ("drop", "crc", "truncate", "late", "glitch", "echo", "wrong-unit", "exception", "dead", "babble")
KINDS = (*CHANCES, "deaf")
MAX_LATE_MS = 60_000  # later than any master waits
MAX_DEAF_US = 1_000_000
SHAPES = {
    "late": "late:P:MS",
    "exception": "exception:P:CODE",
    "echo": "echo",
    "dead": "dead:UNIT",
    "deaf": "deaf:US",
}


class Fault(NamedTuple):
    """One thing that goes wrong, on one bus or on all."""

    kind: str
    bus: str | None  # None: on all
    chance: float = 1.0
    argument: int = 0  # late: milliseconds; exception: code; dead: unit; deaf: microseconds


def parse_fault(spec: str) -> Fault:
    """Read `[BUS=]KIND[:P][:ARGUMENT]`. Raises UsageError, which names the specification and what it should be."""
    bus, _, rest = spec.rpartition("=")
    kind, *words = rest.split(":")
    if kind not in KINDS:
        raise UsageError(f"--fault {spec}: {kind!r} is none of {', '.join(KINDS)}")
    shape = SHAPES.get(kind, f"{kind}:P")
    if len(words) != shape.count(":"):
        raise UsageError(f"--fault {spec}: write {shape}")
    try:
        return _fault(kind, bus or None, words)
    except ValueError as error:
        raise UsageError(f"--fault {spec}: {error}; write {shape}") from None


def pack_faults(faults: Sequence[Fault], bus: str) -> bytes:
    """The rules for `bus`, as an ft_faults; of two that say different things the later one counts."""
    chances = dict.fromkeys(CHANCES, 0)
    late_ns = code = deaf_us = 0
    dead = bytearray(32)
    for fault in faults:
        if fault.bus not in (None, bus):
            continue
        if fault.kind == "dead":
            dead[fault.argument // 8] |= 1 << fault.argument % 8
            continue
        if fault.kind == "deaf":
            deaf_us = fault.argument
            continue
        chances[fault.kind] = round(fault.chance * ALWAYS)
        late_ns = fault.argument * NS_PER_MS if fault.kind == "late" else late_ns
        code = fault.argument if fault.kind == "exception" else code
    return PACKED.pack(*chances.values(), late_ns, code, bytes(dead), deaf_us)


def _fault(kind: str, bus: str | None, words: list[str]) -> Fault:
    if kind == "echo":
        return Fault(kind, bus)
    if kind == "dead":
        return Fault(kind, bus, argument=_whole(words[0], "unit", 255))
    if kind == "deaf":
        return Fault(kind, bus, argument=_whole(words[0], "silence in us", MAX_DEAF_US))
    argument = 0
    if kind == "late":
        argument = _whole(words[1], "delay in ms", MAX_LATE_MS)
    if kind == "exception":
        argument = _whole(words[1], "exception code", 255)
    return Fault(kind, bus, _chance(words[0]), argument)


def _chance(word: str) -> float:
    try:
        chance = float(word)
    except ValueError:
        raise ValueError(f"{word!r} is no probability") from None
    if not 0 <= chance <= 1:
        raise ValueError(f"probability {word} is not between 0 and 1")
    return chance


def _whole(word: str, what: str, most: int) -> int:
    if not word.isdecimal() or int(word) > most:
        raise ValueError(f"{what} {word!r} is no whole number up to {most}")
    return int(word)

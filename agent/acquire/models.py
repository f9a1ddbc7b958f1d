"""A unit in; the requests that find its SunSpec models, and where each of them stands, out; pure.

"SunS" stands at one of three bases, behind it one model after the other, each with its number and its length in front,
and behind the last one 65535: SunSpec Device Information Model Specification 1.1, chapter 6.
"""

import struct
from collections import deque
from collections.abc import Generator, Mapping
from typing import NamedTuple

from agent.acquire import pdu
from agent.acquire.pdu import Ask
from agent.config.model import Table
from agent.errors import BusError, DeviceError

BASES = (40_000, 0, 50_000)  # the most usual first
MARK = b"SunS"
HEAD = struct.Struct(">HH")  # of a model: its number, and how many registers follow
NO_MORE = 0xFFFF
MAX_MODELS = 128  # of one device; those with the most have some forty
LAST_HEAD = 65_534  # where the head of a model may stand at the latest
NOT_THERE = (1, 2, 3)  # exceptions of a device that is there and has no such registers; others may pass


class Survey(NamedTuple):
    """What one device has."""

    base: int
    starts: Mapping[int, int]  # by number: where its number stands, of several alike the first one
    several: frozenset[int] = frozenset()  # numbers of which there are more


class Search:
    """One unit. Each base is asked once for what it holds; one that did not answer comes last in the next try."""

    def __init__(self, unit: int) -> None:
        self._unit = unit
        self._bases = deque(BASES)
        self._held: dict[int, str] = {}  # instead of the mark

    @property
    def words(self) -> str:
        """What stands at the bases, as far as that is known."""
        if not self._held:
            return "it does not answer"
        return "; ".join(f"{base}: {self._held.get(base, 'no answer yet')}" for base in BASES)

    def steps(self) -> Generator[Ask, bytes, Survey | None]:
        """None: at no base it has the mark. Raises BusError or DeviceError when it does not tell now."""
        while self._bases:
            base = self._bases[0]
            try:
                held = yield from self._registers(base)
            except BusError:
                self._bases.rotate(-1)
                raise
            except DeviceError as error:
                if error.code not in NOT_THERE:
                    raise
                self._held[base] = str(error)
            else:
                if held == MARK:
                    return (yield from self._walk(base))
                self._held[base] = "holds {:#06x} {:#06x}".format(*HEAD.unpack(held))
            self._bases.popleft()
        self._bases.extend(BASES)
        return None

    def _walk(self, base: int) -> Generator[Ask, bytes, Survey]:
        """From model to model; a device that refuses to go on has no more."""
        starts: dict[int, int] = {}
        several = set()
        at = base + len(MARK) // 2
        for _ in range(MAX_MODELS):
            try:
                number, length = HEAD.unpack((yield from self._registers(at)))
            except DeviceError as error:
                if error.code not in NOT_THERE:
                    raise
                break
            if number == NO_MORE:
                break
            if starts.setdefault(number, at) != at:
                several.add(number)
            at += 2 + length
            if at > LAST_HEAD:
                break
        return Survey(base, starts, frozenset(several))

    def _registers(self, address: int) -> Generator[Ask, bytes, bytes]:
        return pdu.data((yield Ask(self._unit, pdu.read(Table.HOLDING, address, 2))))


def confirm(unit: int, starts: Mapping[int, int]) -> Generator[Ask, bytes, int | None]:
    """The first model that does not stand any more where it was found; None: all do."""
    for number, start in starts.items():
        try:
            held = pdu.data((yield Ask(unit, pdu.read(Table.HOLDING, start, 1))))
        except DeviceError as error:
            if error.code not in NOT_THERE:
                raise
            return number
        if int.from_bytes(held, "big") != number:
            return number
    return None

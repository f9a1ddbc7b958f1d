"""Devices with a mind of their own on a bus in virtual time, and the lessons that are drawn from what they answer."""

import os
import struct
from typing import NamedTuple

from layouts import records
from wire import with_crc

from agent._native.busloop import VirtualBus
from agent._native.samples import Samples
from agent.acquire.lessons import Lessons
from agent.acquire.limits import Learned
from agent.acquire.plan import FUNCTIONS, DeviceKey, compile_plan
from agent.acquire.tickets import Tickets
from agent.config.model import Config, Table, Tag
from agent.model import NS_PER_MS, NS_PER_S, Quality, ValueType

KEY = DeviceKey("b", "d")
TABLES = {function: table for table, function in FUNCTIONS.items()}
CHAR_NS, QUIET_NS = 86_805, 1_750_000
ANSWER_NS = 5 * NS_PER_MS


class Mind(NamedTuple):
    """How a device answers reads of its registers; each holds its own address."""

    missing: frozenset[tuple[Table, int]] = frozenset()
    fills: bool = False  # it refuses a read only when it has none of its registers
    seams: frozenset[int] = frozenset()
    never_together: frozenset[int] = frozenset()
    most: int = 125
    most_bits: int = 2000
    too_many: int | None = 3  # the exception; None: it keeps silent
    no_such: int = 2

    def answer(self, table: Table, address: int, quantity: int) -> int | None:
        """0: with values; else the exception, or None."""
        asked = {(table, at) for at in range(address, address + quantity)}
        if quantity > (self.most_bits if table in (Table.COIL, Table.DISCRETE) else self.most):
            return self.too_many
        if any(address < seam < address + quantity for seam in self.seams):
            return self.no_such
        if self.never_together and {(table, at) for at in self.never_together} <= asked:
            return self.no_such
        gone = asked & self.missing
        return self.no_such if gone == asked or (gone and not self.fills) else 0


class World:
    """One bus in virtual time, its devices by unit, and the lessons that are drawn from it."""

    def __init__(self, config: Config, minds: dict[int, Mind | None], known: dict[DeviceKey, Learned]) -> None:
        self.config = config
        self.minds = minds  # None: dead
        self.plan = compile_plan(config, known)
        self.lessons = Lessons(config.buses, self.plan, known)
        self.bus = VirtualBus(char_ns=CHAR_NS, quiet_ns=QUIET_NS, ring_bits=14)
        self.now = 0
        self.arriving: list[tuple[int, bytes]] = []
        self.bell = os.eventfd(0, os.EFD_NONBLOCK)
        self.tickets = Tickets(self, config.buses)
        self.plans = 0
        self.is_nudged = False  # the bus has to be stepped now
        self.requests: list[tuple[int, Table, int, int]] = []
        self.refused = 0
        self.last: dict[int, tuple[Quality, int]] = {}  # by tag
        self._adopt()
        self.bus.attach(0)

    def _adopt(self) -> None:
        part = self.lessons.plan_of(0)
        self.bus.adopt(part.blocks, part.points, len(part.devices), self.now)
        self.plans += 1

    def __del__(self) -> None:
        os.close(self.bell)

    def offer(self, _: int, request: bytes, answer_bytes: int, timeout_ns: int, deadline_ns: int) -> int | None:
        """As the native loop does."""
        self.is_nudged = True
        return self.bus.offer(request, answer_bytes, timeout_ns, deadline_ns, self.now)

    def take(self, _: int, slot: int) -> tuple[int, bytes, int, int] | None:
        """As the native loop does."""
        return self.bus.take(slot)

    def errand_fileno(self) -> int:
        """An eventfd that nobody rings."""
        return self.bell

    def run(self, seconds: float, drain_s: float = 0.5) -> None:
        """Let time pass, drained as often as the agent does."""
        end = self.now + int(seconds * NS_PER_S)
        wake, drain_at = self.now, self.now
        while self.now < end:
            due = [data for at, data in self.arriving if at <= self.now]
            self.arriving = [(at, data) for at, data in self.arriving if at > self.now]
            what, request, wake, _ = self.bus.step(self.now, b"".join(due) if due else None)
            while what == "look":
                what, request, wake, _ = self.bus.step(self.now, b"")
            if what == "send":
                self.arriving += self._reply(request)
            if self.now >= drain_at:
                self._drain()
                drain_at = self.now + int(drain_s * NS_PER_S)
                wake = self.now
            self._go_on_asking()
            if self.is_nudged:
                self.is_nudged, wake = False, self.now
            self.now = max(self.now + 1, min([wake, drain_at, end, *(at for at, _ in self.arriving)]))

    def _reply(self, request: bytes) -> list[tuple[int, bytes]]:
        unit, function, address, quantity = struct.unpack_from(">BBHH", request)
        table = TABLES[function]
        self.requests.append((unit, table, address, quantity))
        mind = self.minds.get(unit)
        code = mind.answer(table, address, quantity) if mind else None
        if code is None:
            return []
        if code:
            self.refused += 1
            frame = with_crc(bytes([unit, function | 0x80, code]))
        else:
            frame = with_crc(bytes([unit, function, data_bytes(table, quantity)]) + data(table, address, quantity))
        return [(self.now + ANSWER_NS + len(frame) * CHAR_NS, frame)]

    def _go_on_asking(self) -> None:
        self.tickets.turn(self.now)
        if self.lessons.take_changed():
            self._adopt()
            self.is_nudged = True
        for _, steps in self.lessons.asks(self.now):
            self.tickets.submit(0, steps, self.now)

    def _drain(self) -> None:
        samples = Samples()
        self.bus.drain(samples)
        for sample in records(samples):
            self.last[sample.tag] = Quality(sample.quality), sample.value
        self.lessons.observe(samples)

    @property
    def learned(self) -> Learned:
        return dict(self.lessons.learned())[KEY]

    def good(self) -> set[int]:
        return {tag for tag, (quality, _) in self.last.items() if quality is Quality.GOOD}

    def reads(self) -> list[tuple[int, int]]:
        """Address and quantity of what is read now."""
        return [(info.address, info.quantity) for info in self.lessons.plan_of(0).block_info]


def data_bytes(table: Table, quantity: int) -> int:
    return (quantity + 7) // 8 if table in (Table.COIL, Table.DISCRETE) else 2 * quantity


def data(table: Table, address: int, quantity: int) -> bytes:
    if table in (Table.COIL, Table.DISCRETE):
        return bytes([0xFF]) * data_bytes(table, quantity)
    return b"".join(struct.pack(">H", at) for at in range(address, address + quantity))


def registers(*addresses: int, table: Table = Table.HOLDING, every_ns: int = NS_PER_S) -> list[Tag]:
    type_ = ValueType.BOOL if table in (Table.COIL, Table.DISCRETE) else ValueType.U16
    return [Tag(name=f"{table}{at}", table=table, address=at, type=type_, every_ns=every_ns) for at in addresses]


def gone(*addresses: int, table: Table = Table.HOLDING) -> frozenset[tuple[Table, int]]:
    return frozenset((table, at) for at in addresses)


TEN = registers(*range(10, 20))
APART = registers(*range(10, 15), *range(18, 23))

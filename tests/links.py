"""Modbus TCP in virtual time: polls in, packed plans out; a link, a connection and a device that may misbehave."""

import heapq
import itertools
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from layouts import BLOCK, Sample, packed_point, records

from agent._native.busloop import COUNTERS
from agent._native.linkloop import VirtualLink
from agent._native.samples import Samples

MS = 1_000_000
S = 1_000_000_000
U16 = 1
GOOD, COMM_FAIL, EXCEPTION = 0, 2, 3
READS = (1, 2, 3, 4)


class Poll(NamedTuple):
    """One block of the plan, all registers tags; its tags are numbered 1000 * unit + address + register."""

    unit: int = 1
    period: int = 100 * MS
    address: int = 0
    quantity: int = 2
    phase: int = 0
    timeout: int = 300 * MS
    gap: int = 0
    function: int = 3


class Request(NamedTuple):
    """What the link asked for; `number` counts all requests."""

    at: int
    number: int
    transaction: int
    unit: int
    function: int
    address: int
    quantity: int  # of a write, the value
    pdu: bytes = b""


Answer = Callable[[Request], list[tuple[int, bytes]]]


def plan_of(polls: list[Poll]) -> tuple[bytes, bytes, int]:
    blocks, points = [], []
    units = sorted({poll.unit for poll in polls})
    for group, poll in enumerate(polls):
        adu = struct.pack(">HHHBBHH", 0, 0, 6, poll.unit, poll.function, poll.address, poll.quantity)
        times = (poll.period, poll.phase, poll.timeout, poll.gap)
        place = (group, units.index(poll.unit), len(points), poll.quantity, len(adu), 9 + 2 * poll.quantity)
        blocks.append(BLOCK.pack(*times, *place, poll.unit, poll.function, poll.address, poll.quantity, adu, 0))
        points += [packed_point(1000 * poll.unit + poll.address + at, at, 1, U16) for at in range(poll.quantity)]
    return b"".join(blocks), b"".join(points), len(units)


def frame(transaction: int, unit: int, pdu: bytes, excess: int = 0) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1 + excess, unit) + pdu


def frames_in(data: bytes) -> Iterator[bytes]:
    """Whole frames, one by one."""
    while data:
        size = 6 + struct.unpack_from(">H", data, 4)[0]
        yield data[:size]
        data = data[size:]


def value(tag: int, number: int) -> int:
    """What a register held when request `number` was answered: no two polls of a tag see the same for a long time."""
    return (tag * 7919 + number * 104_729) & 0xFFFF


def answer_to(request: Request, excess: int = 0) -> bytes:
    tag = 1000 * request.unit + request.address
    data = b"".join(struct.pack(">H", value(tag + at, request.number)) for at in range(request.quantity))
    return frame(request.transaction, request.unit, bytes([request.function, len(data)]) + data, excess)


def after(delay: int) -> Answer:
    return lambda request: [(delay, answer_to(request))]


def silent(_request: Request) -> list[tuple[int, bytes]]:
    return []


class OneLine:
    """A gateway to one line: one request after the other, each for as long as `takes` says; None: no answer, and it
    waits for `patience` before it goes on.
    """

    def __init__(self, takes: Callable[[Request], int | None], patience: int = 0) -> None:
        self.takes = takes
        self.patience = patience
        self._free_at = 0

    def __call__(self, request: Request) -> list[tuple[int, bytes]]:
        took = self.takes(request)
        self._free_at = max(self._free_at, request.at) + (self.patience if took is None else took)
        return [] if took is None else [(self._free_at - request.at, answer_to(request))]


class LinkRig:
    """A link, a connection and a device in virtual time. `answer(request)` gives (delay, bytes)."""

    def __init__(
        self,
        polls: list[Poll],
        answer: Answer = silent,
        *,
        in_flight: int = 4,
        quiet_ns: int = 0,
        datagrams: bool = False,
    ) -> None:
        self.link = VirtualLink(in_flight=in_flight, quiet_ns=quiet_ns, ring_bits=14, datagrams=datagrams)
        self.datagrams = datagrams
        self.answer = answer
        self.now = 0
        self.sent: list[Request] = []
        self.most_under_way = 0
        self.samples: list[Sample] = []
        self.wrong: list[Sample] = []  # good ones that no request under way for their tag was answered with
        self.stalls = 0
        self.connection = 0
        self.cut: Callable[[bytes], Iterator[bytes]] = iter_whole
        self._asked: dict[int, int] = {}  # by tag, the number of the last request for it ...
        self._leaving: dict[int, set[int]] = {}  # ... and of those that were under way when plans changed
        self._order = itertools.count()
        self._arrivals: list[tuple[int, int, bytes]] = []
        self.link.adopt(*plan_of(polls), now=0)
        self.link.attach(0)
        self.wake = 0

    def run(self, until: int) -> "LinkRig":
        while (event := min(self.wake, self._arrivals[0][0] if self._arrivals else self.wake)) < until:
            self.now = max(self.now, event)
            arrived = self._take()
            for piece in self.cut(arrived) if arrived else [b""]:
                self._step(piece)
        self.now = until
        return self

    def adopt(self, polls: list[Poll]) -> None:
        for tag, number in self._asked.items():
            self._leaving.setdefault(tag, set()).add(number)
        self.link.adopt(*plan_of(polls), now=self.now)
        self.wake = self.now

    def put(self, at: int, data: bytes) -> None:
        heapq.heappush(self._arrivals, (at, next(self._order), data))

    def silence_after(self, at: int) -> None:
        """Nothing that would come later comes on this connection."""
        self._arrivals = [arrival for arrival in self._arrivals if arrival[0] <= at]
        heapq.heapify(self._arrivals)

    def reconnect(self) -> None:
        self._arrivals.clear()
        self.connection += 1
        self.link.detach(self.now)
        self._drain()
        self.link.attach(self.now)
        self.wake = self.now

    def _take(self) -> bytes:
        data = b""
        while self._arrivals and self._arrivals[0][0] <= self.now and not (data and self.datagrams):
            data += heapq.heappop(self._arrivals)[2]
        return data

    def _step(self, received: bytes) -> None:
        requests, self.wake, is_stalled = self.link.step(self.now, received)
        self._drain()  # before what is sent now changes what is expected
        if is_stalled:
            self.stalls += 1
            self.reconnect()
        for adu in frames_in(requests):
            self._send(adu)
        self.most_under_way = max(self.most_under_way, self.link.under_way())

    def _send(self, adu: bytes) -> None:
        transaction, _, _, unit, function, address, quantity = struct.unpack(">HHHBBHH", adu[:12].ljust(12, b"\0"))
        request = Request(self.now, len(self.sent), transaction, unit, function, address, quantity, adu[7:])
        self.sent.append(request)
        for at in range(quantity if function in READS else 0):
            self._asked[1000 * unit + address + at] = request.number
        for delay, data in self.answer(request):
            self.put(self.now + delay, data)

    def _drain(self) -> None:
        samples = Samples()
        self.link.drain(samples)
        new = records(samples)
        self.samples += new
        self.wrong += [each for each in new if each.quality == GOOD and not self._is_right(each)]

    def _is_right(self, sample: Sample) -> bool:
        still_open = (
            number
            for number in self._leaving.get(sample.tag, ())
            if self.sent[number].at + Poll().timeout >= sample.time_ns
        )
        numbers = (self._asked[sample.tag], *still_open)
        return any(sample.value == value(sample.tag, number) for number in numbers)

    @property
    def counts(self) -> dict[str, int]:
        return dict(zip(COUNTERS, self.link.counters()[0], strict=True))

    def device_counts(self, device: int) -> dict[str, int]:
        return dict(zip(COUNTERS, self.link.counters()[1][device], strict=True))

    @property
    def quirks(self) -> dict[str, int]:
        return dict(zip(("late", "foreign", "misfits", "odd_lengths", "noise_bytes"), self.link.quirks(), strict=True))

    def good(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.quality == GOOD]


def iter_whole(data: bytes) -> Iterator[bytes]:
    yield data

"""A bus, a line and devices in virtual time: polls and answers in, requests and samples out."""

import heapq
import struct
from collections.abc import Callable
from typing import NamedTuple

from layouts import BLOCK, Sample, packed_point, records
from wire import with_crc

from agent._native.busloop import COUNTERS, VirtualBus
from agent._native.codec import ASCII, RTU, crc_fits
from agent._native.samples import Samples

US = 1_000
MS = 1_000_000
S = 1_000_000_000
CHAR_NS = 86_805  # 115200 baud, 8N1
QUIET_NS = 1_750_000
FIFO_BYTES = 16
BOOL, U16 = 0, 1
READ_COILS, READ_HOLDING, READ_INPUT = 1, 3, 4
GOOD, COMM_FAIL, EXCEPTION = 0, 2, 3
SILENCE, AMBIGUOUS = 0, 1  # details of COMM_FAIL
LOOP_BACK = 8


Answer = Callable[[bytes, int], list[tuple[int, bytes]]]


class Poll(NamedTuple):
    """One block of the plan; every register or bit becomes one tag, whose number is 1000 * unit + its address."""

    unit: int = 1
    period: int = 100 * MS
    address: int = 0
    quantity: int = 10
    phase: int = 0
    timeout: int = 300 * MS
    gap: int = 0
    device: int | None = None
    bounds: int = 0
    function: int = READ_HOLDING


def plan_of(polls: list[Poll]) -> tuple[bytes, bytes, int]:
    blocks, points = [], []
    units = sorted({poll.unit for poll in polls})
    for group, poll in enumerate(polls):
        pdu = struct.pack(">BHH", poll.function, poll.address, poll.quantity)
        adu = with_crc(bytes([poll.unit]) + pdu)
        blocks.append(
            BLOCK.pack(
                poll.period,
                poll.phase,
                poll.timeout,
                poll.gap,
                group,
                units.index(poll.unit) if poll.device is None else poll.device,
                len(points),
                poll.quantity,
                len(adu),
                5 + data_bytes(poll.function, poll.quantity),
                poll.unit,
                poll.function,
                poll.address,
                poll.quantity,
                adu,
                poll.bounds,
            )
        )
        points += [
            packed_point(1000 * poll.unit + poll.address + at, at, 1, BOOL if reads_bits(poll.function) else U16)
            for at in range(poll.quantity)
        ]
    return b"".join(blocks), b"".join(points), len(units)


def reads_bits(function: int) -> bool:
    return function <= 2


def data_bytes(function: int, quantity: int) -> int:
    return (quantity + 7) // 8 if reads_bits(function) else 2 * quantity


def bit_of(number: int) -> int:
    """What the tag of this number holds where it is a bit: no stretch of tags looks like the ones beside it."""
    return number.bit_count() & 1


def bits_from(number: int, quantity: int) -> bytes:
    packed = sum(bit_of(number + at) << at for at in range(quantity))
    return packed.to_bytes((quantity + 7) // 8, "little")


def answer_to(request: bytes, value: Callable[[int, int], int] = lambda unit, address: 1000 * unit + address) -> bytes:
    """The right answer: by default every register's value is the number of its tag; a loop-back is its own."""
    if request[1] == LOOP_BACK:
        return request
    unit, function, address, quantity = struct.unpack_from(">BBHH", request)
    if reads_bits(function):
        payload = bits_from(1000 * unit + address, quantity)
    else:
        payload = b"".join(struct.pack(">H", value(unit, address + at)) for at in range(quantity))
    frame = bytes([unit, function, len(payload)]) + payload
    return with_crc(frame)


def after(delay_ns: int) -> Answer:
    """A device that answers so long after the end of the request, at the line's pace."""
    return lambda request, _: paced(answer_to(request), delay_ns)


def paced(
    answer: bytes, delay_ns: int, char_ns: int = CHAR_NS, piece_bytes: int = FIFO_BYTES
) -> list[tuple[int, bytes]]:
    ends = range(piece_bytes, len(answer) + piece_bytes, piece_bytes)
    return [(delay_ns + min(end, len(answer)) * char_ns, answer[end - piece_bytes : end]) for end in ends]


def late_at(numbers: dict[int, int]) -> Answer:
    """A device in whose answers to some requests (by number) so many ns pass before they come."""
    return lambda request, n: paced(answer_to(request), QUIET_NS + numbers.get(n, 0))


def silent(_request: bytes, _number: int) -> list[tuple[int, bytes]]:
    return []


class Rig:
    """A bus, a line and devices in virtual time. `answer(request, number)` gives (delay after the request, bytes)."""

    def __init__(
        self,
        polls: list[Poll],
        answer: Answer = silent,
        *,
        ascii_: bool = False,
        datagrams: bool = False,
        char_ns: int = CHAR_NS,
        quiet_ns: int = QUIET_NS,
        switch_ns: int = 0,
        least_ns: int = 0,
        ring_bits: int = 12,
    ) -> None:
        self.char_ns = char_ns
        self.bus = VirtualBus(
            framing=ASCII if ascii_ else RTU,
            char_ns=char_ns,
            quiet_ns=quiet_ns,
            switch_ns=switch_ns,
            least_ns=least_ns,
            ring_bits=ring_bits,
            datagrams=datagrams,
        )
        self.answer = answer
        self.now = 0
        self.sent: list[tuple[int, bytes]] = []
        self.heard_until: list[int] = []  # when the last byte before each request was on the line
        self.looks = 0
        self.arrivals: list[tuple[int, int, bytes]] = []
        self.waiting = b""
        self.last_byte = -S
        self.samples: list[Sample] = []
        self.bus.adopt(*plan_of(polls), now=0)
        self.bus.attach(0)
        self.wake, self.watch = 0, False

    def put(self, at: int, data: bytes) -> None:
        heapq.heappush(self.arrivals, (at, len(self.sent), data))

    def adopt(self, polls: list[Poll]) -> None:
        """Another plan from now on, as the loop hands it over."""
        self.bus.adopt(*plan_of(polls), now=self.now)
        self.wake = self.now

    def run(self, until: int) -> "Rig":
        while (event := self._next_event()) < until:
            self.now = max(self.now, event)
            self._arrive()
            self._step()
        self.now = until
        self._drain()
        return self

    def step(self, now: int) -> None:
        """One step at a time that somebody else has chosen."""
        self.now = now
        self._arrive()
        self._step()

    def _next_event(self) -> int:
        if self.watch and self.waiting:
            return self.now
        heard = self.arrivals[0][0] if self.watch and self.arrivals else self.wake
        return min(self.wake, heard)

    def _arrive(self) -> None:
        while self.arrivals and self.arrivals[0][0] <= self.now:
            at, _, data = heapq.heappop(self.arrivals)
            self.waiting += data
            self.last_byte = at

    def _step(self) -> None:
        received = self._take() if self.watch and self.waiting else None
        what, request, self.wake, self.watch = self.bus.step(self.now, received)
        if what == "look":
            what, request, self.wake, self.watch = self.bus.step(self.now, self._take())
        if what == "send":
            self._send(request)
        self._drain()

    def _take(self) -> bytes:
        self.looks += 1
        taken, self.waiting = self.waiting, b""
        return taken

    def _send(self, request: bytes) -> None:
        assert crc_fits(request)
        self.heard_until.append(self.last_byte)
        self.sent.append((self.now, request))
        end = self.now + len(request) * self.char_ns
        for delay, data in self.answer(request, len(self.sent) - 1):
            self.put(end + delay, data)

    def _drain(self) -> None:
        samples = Samples()
        self.bus.drain(samples)
        self.samples += records(samples)

    @property
    def counts(self) -> dict[str, int]:
        return dict(zip(COUNTERS, self.bus.counters()[0], strict=True))

    def device_counts(self, device: int) -> dict[str, int]:
        return dict(zip(COUNTERS, self.bus.counters()[1][device], strict=True))

    @property
    def waited(self) -> list[int]:
        """How long the line was silent before each request."""
        return [at - heard for (at, _), heard in zip(self.sent, self.heard_until, strict=True)]

    def silences(self, unit: int) -> list[int]:
        """The same before those to one unit."""
        return [wait for (_, request), wait in zip(self.sent, self.waited, strict=True) if request[0] == unit]

    def sent_to(self, unit: int) -> list[int]:
        return [at for at, request in self.sent if request[0] == unit]

    def good(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.quality == GOOD]

    def wrong(self) -> list[Sample]:
        return [
            sample
            for sample in self.good()
            if sample.value != (bit_of(sample.tag) if sample.type == BOOL else sample.tag)
        ]


QUICK = after(QUIET_NS)


def asked(rig: Rig) -> list[str]:
    """The requests in short: unit, function, address and quantity; a loop-back without its number."""
    short = []
    for _, request in rig.sent:
        unit, function, address, quantity = struct.unpack_from(">BBHH", request)
        short.append(f"{unit}/loop-back" if function == LOOP_BACK else f"{unit}/{function}@{address}x{quantity}")
    return short


def only(*units: int) -> Answer:
    return lambda request, _: paced(answer_to(request), QUIET_NS) if request[0] in units else []

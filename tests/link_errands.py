"""Errands offered to a TCP link in virtual time: requests in, what a device answers to them out."""

import struct
from collections.abc import Callable

from errands import Done, Offers
from links import MS, READS, Answer, LinkRig, Poll, Request, S, answer_to, frame

READ, WRITE, WRITE_MANY = 3, 6, 16
ROUND = 5 * MS  # from request to answer
MANY = [Poll(address=10 * at) for at in range(16)]


def write(value: int = 1, unit: int = 1, register: int = 500) -> bytes:
    return frame(0, unit, struct.pack(">BHH", WRITE, register, value))


def write_many(value: int, unit: int = 1, count: int = 123) -> bytes:
    return frame(0, unit, struct.pack(">BHHB", WRITE_MANY, 500, count, 2 * count) + struct.pack(">H", value) * count)


def read(unit: int = 1, register: int = 500, quantity: int = 2) -> bytes:
    return frame(0, unit, struct.pack(">BHH", READ, register, quantity))


def reply(request: Request) -> bytes:
    """The frame that answers it."""
    if request.function in READS:
        return answer_to(request)
    return frame(request.transaction, request.unit, request.pdu[:5])


def refusal(request: Request, unit: int | None = None) -> bytes:
    return frame(request.transaction, request.unit if unit is None else unit, bytes([request.function | 0x80, 2]))


def device(request: Request) -> list[tuple[int, bytes]]:
    return [(ROUND, reply(request))]


def to_writes(answer: Callable[[Request], bytes]) -> Answer:
    """A device that answers reads as it should, and all else like this."""
    return lambda request: device(request) if request.function in READS else [(ROUND, answer(request))]


only_reads = to_writes(lambda _: b"")


class ErrandRig(Offers, LinkRig):
    """A rig that offers errands and keeps what became of them."""

    def __init__(self, polls: list[Poll], answer: Answer = device, *, in_flight: int = 4) -> None:
        super().__init__(polls, answer, in_flight=in_flight)

    def offer(self, request: bytes, *, timeout: int = 300 * MS, deadline: int = 10_000 * S) -> list[Done]:
        return self.keep(self.link.offer(request, 0, timeout, deadline))

    def collect(self) -> None:
        self.take_done(self.link.take)

    def reconnect(self) -> None:
        super().reconnect()
        self.collect()

    def _step(self, received: bytes) -> None:
        super()._step(received)
        self.collect()

    def sent_of(self, function: int) -> list[Request]:
        return [request for request in self.sent if request.function == function]

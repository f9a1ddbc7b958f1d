"""Single requests between the polls of a bus in virtual time: their frames, a device that answers them, their rig."""

import itertools
import struct

from bus_rig import MS, QUIET_NS, Answer, Poll, Rig, S, answer_to, paced
from errands import Done, Offers
from wire import with_crc

READ, WRITE_COIL, WRITE, WRITE_MANY, MASK = 3, 5, 6, 16, 22
MIRRORED = (WRITE_COIL, WRITE, MASK)
NO_SUCH_REGISTER = 2


def write(value: int = 1, unit: int = 1, register: int = 500) -> bytes:
    return with_crc(struct.pack(">BBHH", unit, WRITE, register, value))


def write_many(value: int, unit: int = 1) -> bytes:
    return with_crc(struct.pack(">BBHHBHH", unit, WRITE_MANY, 500, 2, 4, 0, value))


def read(unit: int = 1, register: int = 500, quantity: int = 2) -> bytes:
    return with_crc(struct.pack(">BBHH", unit, READ, register, quantity))


def reply(request: bytes) -> bytes:
    if request[1] in MIRRORED:
        return request
    return with_crc(request[:6]) if request[1] == WRITE_MANY else answer_to(request)


def refusal(request: bytes, code: int = NO_SUCH_REGISTER) -> bytes:
    return with_crc(bytes([request[0], request[1] | 0x80, code]))


def device(request: bytes, _: int) -> list[tuple[int, bytes]]:
    return paced(reply(request), QUIET_NS)


def only_reads(request: bytes, number: int) -> list[tuple[int, bytes]]:
    return device(request, number) if request[1] == READ else []


def late_once(late_ns: int) -> Answer:
    """Answers reads, and the first write late."""
    writes = itertools.count()

    def answer(request: bytes, number: int) -> list[tuple[int, bytes]]:
        if request[1] == READ:
            return device(request, number)
        return paced(reply(request), late_ns) if next(writes) == 0 else []

    return answer


class ErrandRig(Offers, Rig):
    """A rig whose line is known not to echo, that offers errands and keeps what became of them."""

    def __init__(self, polls: list[Poll], answer: Answer = device, *, switch_ns: int = 0, least_ns: int = 0) -> None:
        super().__init__(polls, answer, switch_ns=switch_ns, least_ns=least_ns)

    def offer(self, request: bytes, *, timeout: int = 300 * MS, deadline: int = 1000 * S, size: int = 8) -> list[Done]:
        return self.keep(self.bus.offer(request, size, timeout, deadline, self.now))

    def _step(self) -> None:
        super()._step()
        self.collect()

    def collect(self) -> None:
        self.take_done(self.bus.take)

    def sent_of(self, function: int) -> list[int]:
        return [at for at, request in self.sent if request[1] == function]

"""A simulated bus without a line: requests in as bytes, what its units answer out."""

import struct

from wire import crc, with_crc

from agent._native.server import SimulatedBus
from agent.simulate.faults import pack_faults, parse_fault
from agent.simulate.layout import unit_bits

RTU, TCP = 0, 1
WALL_NS = 1_763_769_600_000_000_000
MS = 1_000_000


def rtu(unit: int, pdu: bytes) -> bytes:
    frame = bytes([unit]) + pdu
    return with_crc(frame)


def tcp(transaction: int, unit: int, pdu: bytes) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def play(*units: int, framing: int = RTU, faults: tuple[str, ...] = (), seed: int = 0) -> SimulatedBus:
    return SimulatedBus(
        framing, unit_bits(units or (1,)), b"", pack_faults([parse_fault(spec) for spec in faults], "bus"), seed
    )


def answers(bus: SimulatedBus, data: bytes, now_ns: int = 0, wall_ns: int = WALL_NS) -> bytes:
    bus.feed(data, now_ns, wall_ns)
    return bus.release(now_ns)


def ask(bus: SimulatedBus, pdu: str | bytes, unit: int = 1, wall_ns: int = WALL_NS) -> bytes:
    """One request's answer, its unit and CRC checked and taken off."""
    answer = answers(bus, rtu(unit, bytes.fromhex(pdu) if isinstance(pdu, str) else pdu), wall_ns=wall_ns)
    assert answer[0] == unit
    assert crc(answer[:-2]) == answer[-2:]
    return answer[1:-2]

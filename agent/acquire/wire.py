"""Line settings in, how long characters, silences and whole transactions take out; pure.

One transaction that reads N registers takes, with c the time of a character:

    request 8c | turnaround D | answer (5 + 2N)c | silence g before the next request | host latency L

in RTU; in ASCII the request takes 17c and the answer (11 + 4N)c.
"""

from typing import NamedTuple

from agent.config.model import Bus, Table
from agent.model import NS_PER_S

FAST_BAUD = 19_200  # above it the standard fixes the silence instead of deriving it from the character
FAST_SILENCE_NS = 1_750_000  # Modbus over Serial Line V1.02, 2.5.1.1
SILENCE_HALF_CHARACTERS = 7  # t3.5
LEAST_SILENCE_CHARACTERS = 2  # of learned silences: up to t1.5 there may be within a frame
TURNAROUND_NS = 5_000_000  # what a usual device takes to answer; the plan only needs its order of magnitude
HOST_LATENCY_NS = 1_000_000  # a USB adapter with its latency timer at 1 ms
ROUND_TRIP_NS = 2_000_000  # a TCP device on the same network
TCP_BYTE_NS = 80  # 100 Mbit/s

RTU_REQUEST_BYTES = 8
RTU_ANSWER_BYTES = 5  # beside its data: unit, function, byte count, CRC
# 17 characters and 11, at two characters a byte: colon, LRC, CR and LF for a CRC.
ASCII_FRAME_BYTES = 14
ASCII_DIGITS = 2  # characters that a byte takes
TCP_REQUEST_BYTES = 12
TCP_ANSWER_BYTES = 9  # beside its data: MBAP with the unit, function, byte count


class Line(NamedTuple):
    """What reading over one bus costs."""

    byte_ns: int
    frame_bytes: int  # request, and answer without its data
    waiting_ns: int  # turnaround and host latency, or the round trip
    silence_ns: int  # before every request

    def wire_ns(self, table: Table, quantity: int) -> int:
        """The bytes alone: what no host and no device can make shorter."""
        return self.byte_ns * (self.frame_bytes + data_bytes(table, quantity))

    def transaction_ns(self, table: Table, quantity: int, gap_ns: int = 0) -> int:
        """The whole time one read is expected to take the bus; `gap_ns` is the silence that the device wants."""
        return self.wire_ns(table, quantity) + self.waiting_ns + max(self.silence_ns, gap_ns)


def line_of(bus: Bus) -> Line:
    """The costs of one bus."""
    if bus.protocol == "modbus-tcp":
        return Line(TCP_BYTE_NS, TCP_REQUEST_BYTES + TCP_ANSWER_BYTES, ROUND_TRIP_NS, 0)
    character_ns = character_time_ns(bus)
    silence_ns = silence_time_ns(character_ns, bus.baud)
    waiting_ns = max(TURNAROUND_NS, silence_ns) + HOST_LATENCY_NS  # a device too keeps the silence before it answers
    between_ns = max(silence_ns, switch_time_ns(bus))
    if bus.protocol == "modbus-ascii":
        return Line(ASCII_DIGITS * character_ns, ASCII_FRAME_BYTES, waiting_ns, between_ns)
    return Line(character_ns, RTU_REQUEST_BYTES + RTU_ANSWER_BYTES, waiting_ns, between_ns)


def switch_time_ns(bus: Bus) -> int:
    """The silence that a change of the device needs. How often it changes depends on the moment: at most every time."""
    return bus.switch_ns if len(bus.units) > 1 else 0


def character_time_ns(bus: Bus) -> int:
    """One character: start bit, data bits, parity bit, stop bits."""
    return (1 + bus.data_bits + (bus.parity != "N") + bus.stop_bits) * NS_PER_S // bus.baud


def silence_time_ns(character_ns: int, baud: int) -> int:
    """t3.5, the silence between frames."""
    derived_ns = SILENCE_HALF_CHARACTERS * character_ns // 2
    return max(derived_ns, FAST_SILENCE_NS) if baud > FAST_BAUD else derived_ns


def data_bytes(table: Table, quantity: int) -> int:
    """Bytes of data in the answer to a read."""
    return (quantity + 7) // 8 if table in (Table.COIL, Table.DISCRETE) else 2 * quantity

"""Single requests to a device in, their answers out: the port is opened for them and closed after."""

import os
import select
from collections.abc import Generator
from types import TracebackType
from typing import Protocol, TypeVar

from agent._native.codec import ASCII, EXCEPTION, PENDING, RTU, TCP, TIMED_OUT, FromAscii, Master, frame, to_ascii
from agent.acquire.pdu import BROADCAST, Ask, answer_frame_bytes, refusal
from agent.acquire.port import open_port, wire_of
from agent.acquire.wire import ASCII_DIGITS
from agent.clock import boot_ns
from agent.config.model import Bus
from agent.config.ports import is_datagrams
from agent.errors import BusError, DeviceError
from agent.model import NS_PER_MS

READ_BYTES = 1024  # more than the longest frame, which has 513 characters of ASCII
MOST_BABBLE_NS = 500 * NS_PER_MS  # a line that never falls silent is sent on all the same
BROADCAST_MS = 200  # Modbus over Serial Line V1.02, 2.4.1: the turnaround delay is 100 to 200 ms

Result = TypeVar("Result")


class Asks(Protocol):
    """A way to a device: a port of one's own, or an agent that has it."""

    def ask(self, ask: Ask) -> bytes:
        """The PDU that answers; empty for a broadcast. Raises DeviceError when it refuses, BusError when none comes."""


def driven(line: Asks, steps: Generator[Ask, bytes, Result]) -> Result:
    """Make the requests of these steps on the line; their result."""
    try:
        ask = next(steps)
        while True:
            try:
                answer = line.ask(ask)
            except (BusError, DeviceError) as error:
                ask = steps.throw(error)
            else:
                ask = steps.send(answer)
    except StopIteration as end:
        result: Result = end.value
        return result


class Line:
    """One port, open within a `with` block, on which requests are made one by one."""

    def __init__(self, bus: Bus) -> None:
        wire = wire_of(bus)
        self._bus = bus
        self._quiet_ns = wire.quiet_ns
        self._is_datagrams = is_datagrams(bus.port)
        self._is_tcp = wire.is_tcp
        self._framing = TCP if wire.is_tcp else RTU
        self._transaction = 0  # of Modbus TCP: a late answer bears another number
        self._ascii = FromAscii() if wire.framing == ASCII else None
        char_ns = ASCII_DIGITS * wire.char_ns if self._ascii else wire.char_ns
        self._master = Master(self._framing, char_ns, self._ascii)

    def __enter__(self) -> "Line":
        """Open the port. Raises BusError or NotPermittedError."""
        self._open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the port, as it was found."""
        self._port.close()

    def ask(self, ask: Ask) -> bytes:
        """The PDU that answers; empty for a broadcast. Raises DeviceError when it refuses, BusError when none comes."""
        try:
            if ask.unit == BROADCAST and not self._is_tcp:
                self._tell(ask)
                return b""
            self._send(ask)
            while self._master.outcome == PENDING:
                self._listen()
        except OSError as error:
            raise BusError(f"{self._bus.port}: {self._port.why_lost(str(error.strerror))}") from error
        return self._answer(ask.unit)

    def _tell(self, ask: Ask) -> None:
        """Send what nobody answers, and give the devices the time to act."""
        self._await_silence()
        self._write(frame(self._framing, 0, ask.unit, ask.request))
        self._poll.poll(BROADCAST_MS)

    def _open(self) -> None:
        self._port = open_port(self._bus)
        self._poll = select.poll()
        self._poll.register(self._port.fd, select.POLLIN)

    def _await_silence(self) -> None:
        """Requests begin after t3.5 without a byte; what comes until then is no answer to them."""
        until_ns = boot_ns() + MOST_BABBLE_NS
        while self._poll.poll(-(-self._quiet_ns // NS_PER_MS)) and boot_ns() < until_ns:
            if not os.read(self._port.fd, READ_BYTES) and not self._is_datagrams:
                return

    def _send(self, ask: Ask) -> None:
        self._transaction = (self._transaction + 1) % 0x10000
        adu = frame(self._framing, self._transaction, ask.unit, ask.request)
        if self._is_datagrams:  # another port of ours: a copy of the last answer finds nobody there
            self._port.close()
            self._open()
        self._await_silence()
        self._write(adu)
        answer_bytes = answer_frame_bytes(ask.request, is_tcp=self._is_tcp)
        self._master.begin(boot_ns(), adu, answer_bytes, self._bus.timeout_ns)

    def _write(self, adu: bytes) -> None:
        os.write(self._port.fd, to_ascii(adu) if self._ascii else adu)

    def _listen(self) -> None:
        left_ms = (self._master.deadline_ns - boot_ns()) // NS_PER_MS + 1
        if not self._poll.poll(max(0, left_ms)):
            self._master.expire(boot_ns())
            return
        data = os.read(self._port.fd, READ_BYTES)
        if not data and not self._is_datagrams:
            raise BusError(f"{self._bus.port}: {self._port.why_lost('the other side hung up')}")
        self._master.feed(boot_ns(), self._ascii.feed(data) if self._ascii else data)

    def _answer(self, unit: int) -> bytes:
        where = f"unit {unit} at {self._bus.port}"
        if self._master.outcome == TIMED_OUT:
            raise BusError(f"{where} did not answer within {self._bus.timeout_ns // NS_PER_MS} ms{self._what_came()}")
        if self._master.outcome == EXCEPTION:
            code = self._master.pdu[1]
            raise DeviceError(f"{where} answered {refusal(code)}", code)
        return self._master.pdu

    def _what_came(self) -> str:
        """What was heard instead of an answer: it tells a silent line from a wrong setting."""
        if not self._master.heard:
            return "; nothing was heard at all"
        counts = self._master.counts
        seen = {
            "a wrong CRC": counts["crc_errors"],
            "another's answer": counts["foreign"],
            "a part": counts["truncated"],
        }
        words = ", ".join(word for word, times in seen.items() if times) or "baud rate or parity may differ"
        heard = self._master.heard
        return f"; {heard} byte{'s were' if heard > 1 else ' was'} heard: {words}"

"""Buses of all kinds in; the native loops that serve them, with their threads and ports, out as one.

Buses whose requests are numbered (Modbus TCP, over TLS and UDP too) have the loop of the links. Everything else has the
loop of the lines, `rtu+tcp` and `rtu+udp` too: behind such a port is a serial line, where one request at a time and the
guard against late answers are the point, whatever carries the bytes. A loop without a bus has no thread.
"""

import os
import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

from agent._native.busloop import BusLoop
from agent._native.linkloop import LinkLoop
from agent._native.samples import Samples
from agent.acquire.chronicle import Chronicle
from agent.acquire.diagnosis import Finding, Uart
from agent.acquire.kernel import Note
from agent.acquire.port import Wire
from agent.acquire.supervisor import Supervisor
from agent.acquire.tcp import Connector
from agent.config.model import Bus
from agent.config.ports import is_datagrams

_Histogram: TypeAlias = tuple[int, ...]
_Mishap: TypeAlias = tuple[int, int, int, bytes, tuple[int, int, int, int]]
_Statistics: TypeAlias = tuple[_Histogram, list[tuple[_Histogram, _Histogram, _Mishap]]]

STOP_S = 0.1  # the supervisor may sit in a connect(2); it closes what it gets and ends by itself


class Loops:
    """The lines and the links of an agent, numbered as its buses are. `wires`: the timing of each, bits of its ring."""

    def __init__(self, buses: Sequence[Bus], wires: Sequence[tuple[Wire, int]], chronicle: Chronicle) -> None:
        lines = [(bus, wire, bits) for bus, (wire, bits) in zip(buses, wires, strict=True) if not wire.is_tcp]
        links = [(bus, wire, bits) for bus, (wire, bits) in zip(buses, wires, strict=True) if wire.is_tcp]
        self._lost = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)  # rung when a link's connection is
        self._lines = BusLoop([(*wire, bits) for _, wire, bits in lines])
        bells = self._lines.fileno(), self._lost, self._lines.errand_fileno()
        self._links = LinkLoop([(_width(bus), wire.switch_ns, bits) for bus, wire, bits in links], *bells)
        self._supervisor = Supervisor(self._lines, [bus for bus, *_ in lines], chronicle)
        self._connector = Connector(self._links, self._lost, [bus for bus, *_ in links], chronicle)
        self._places = _places([wire.is_tcp for wire, _ in wires])
        self.native_threads = [_thread(self._lines.run, "bus")] if lines else []
        self.native_threads += [_thread(self._links.run, "link")] if links else []
        self._port_threads: list[tuple[threading.Thread, float | None]] = []
        if lines:
            self._port_threads.append((_thread(self._supervisor.run, "port"), STOP_S))
        if links:
            self._port_threads.append((_thread(self._connector.run, "connect"), None))

    def __del__(self) -> None:
        os.close(self._lost)

    def start(self) -> None:
        """Open the ports and poll."""
        for thread in (*self.native_threads, *(thread for thread, _ in self._port_threads)):
            thread.start()

    def stop(self) -> None:
        """Stop polling and close the ports; what is in the rings can still be drained."""
        self._lines.stop()
        self._links.stop()
        for thread in self.native_threads:
            thread.join()
        self._supervisor.stop()
        self._connector.stop()
        for thread, limit_s in self._port_threads:
            thread.join(limit_s)

    def adopt(self, bus: int, blocks: bytes, points: bytes, devices: int) -> None:
        """Let a bus run this plan (packed ft_block and ft_point records) from now on."""
        is_link, number = self._places[bus]
        (self._links if is_link else self._lines).adopt(number, blocks, points, devices)

    def offer(self, bus: int, request: bytes, answer_bytes: int, timeout_ns: int, deadline_ns: int) -> int | None:
        """The slot where the request waits to be sent once; None: there is no room."""
        is_link, number = self._places[bus]
        return (self._links if is_link else self._lines).offer(number, request, answer_bytes, timeout_ns, deadline_ns)

    def take(self, bus: int, slot: int) -> tuple[int, bytes, int, int] | None:
        """How it ended, the answer, when it was sent and when it was done; None: not yet."""
        is_link, number = self._places[bus]
        return (self._links if is_link else self._lines).take(number, slot)

    def errand_fileno(self) -> int:
        """An eventfd, readable when some are done."""
        return self._lines.errand_fileno()

    def fileno(self) -> int:
        """Readable when a ring is half full or something urgent is in one; drain() makes it quiet again."""
        return self._lines.fileno()

    def drain(self, into: Samples) -> int:
        """Append the samples of all buses; returns how many. The lines first: that quiets what both ring."""
        return self._lines.drain(into) + self._links.drain(into)

    def counters(self, bus: int) -> tuple[tuple[int, ...], list[tuple[int, ...]], int]:
        """Counters of the bus, of each of its devices, and how many samples its full ring dropped."""
        is_link, number = self._places[bus]
        return (self._links if is_link else self._lines).counters(number)

    def statistics(self, bus: int) -> _Statistics:
        """How late polls were, by class; of each device its round trips and turnarounds, and its last mishap."""
        is_link, number = self._places[bus]
        return (self._links if is_link else self._lines).statistics(number)

    def suspects(self, bus: int) -> list[bool]:
        """Of each device whether it is only probed, because it has been silent."""
        is_link, number = self._places[bus]
        return (self._links if is_link else self._lines).suspects(number)

    def silences(self, bus: int) -> list[tuple[int, int]]:
        """Of each device the silence before its requests and the one that it refused, 0: none; a link needs none."""
        is_link, number = self._places[bus]
        return [] if is_link else self._lines.silences(number)

    def state(self, bus: int) -> tuple[str, str]:
        """`opening`, `open` or `failed`, and the last error."""
        is_link, number = self._places[bus]
        return (self._connector if is_link else self._supervisor).state(number)

    def notes(self, bus: int) -> tuple[Note, ...]:
        """What the driver of the bus's port granted and refused."""
        is_link, number = self._places[bus]
        return () if is_link else self._supervisor.notes(number)

    def finding(self, bus: int) -> Finding | None:
        """Why answers are damaged; those over TCP are not."""
        is_link, number = self._places[bus]
        return None if is_link else self._supervisor.finding(number)

    def uart(self, bus: int) -> Uart | None:
        """What the driver of the bus's port has counted; None: it does not tell."""
        is_link, number = self._places[bus]
        return None if is_link else self._supervisor.uart(number)

    def marks(self, bus: int) -> tuple[int, int, int]:
        """Characters heard while marking, those marked, and those of them that may have been breaks."""
        is_link, number = self._places[bus]
        return (0, 0, 0) if is_link else self._lines.marks(number)

    def trace(self, bus: int) -> bytes:
        """The last bytes that went over the bus, as packed records."""
        is_link, number = self._places[bus]
        return (self._links if is_link else self._lines).trace(number)


def _width(bus: Bus) -> int:
    """How many requests may be under way: what is sent at once would share a datagram."""
    return 1 if is_datagrams(bus.port) else bus.in_flight


def _places(kinds: Sequence[bool]) -> list[tuple[bool, int]]:
    """Of each bus whether it is a link, and its number among those of its kind."""
    return [(is_link, kinds[:at].count(is_link)) for at, is_link in enumerate(kinds)]


def _thread(run: Callable[[], None], name: str) -> threading.Thread:
    return threading.Thread(target=run, name=f"fieldtap-{name}", daemon=True)

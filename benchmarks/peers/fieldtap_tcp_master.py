"""fieldtap's loop of the TCP links as a peer: a port and a width in, transactions and CPU time out.

    python -m benchmarks.peers.fieldtap_tcp_master IN_FLIGHT PORT

For every line "SECONDS REGISTERS" on stdin: polls FC 3 of unit 1 so long and prints transactions, failures, CPU
seconds, transactions/s, system calls of the loop. Samples are drained when the loop says so, as the agent does.
"""

import contextlib
import os
import socket
import sys
import threading
import time

from agent._native.linkloop import LinkLoop
from agent._native.samples import Samples
from agent.acquire.plan import BLOCK, request_adu
from benchmarks.peers.fieldtap_master import ALWAYS_DUE_NS, TIMEOUT_NS, cpu_s, drain, u16_points

RING_BITS = 16
UNIT, READ_HOLDING = 1, 3


class Peer:
    """A link on a loop of its own."""

    def __init__(self, in_flight: int, port: int) -> None:
        self.in_flight = in_flight
        self.bell = os.eventfd(0, os.EFD_NONBLOCK)
        self.loop = LinkLoop([(in_flight, 0, RING_BITS)], self.bell, os.eventfd(0), os.eventfd(0))
        self.link = socket.create_connection(("127.0.0.1", port))
        self.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.link.setblocking(False)
        self.loop.attach(0, self.link.fileno())
        threading.Thread(target=self.loop.run, daemon=True).start()

    def fileno(self) -> int:
        return self.bell

    def drain(self, into: Samples) -> int:
        with contextlib.suppress(BlockingIOError):  # drained unasked
            os.eventfd_read(self.bell)
        return self.loop.drain(into)

    def poll(self, samples: Samples, seconds: float, registers: int) -> tuple[int, int, float, float, int]:
        """Poll for a while: transactions, failures (lost samples among them), CPU, transactions/s, system calls."""
        calls, before, cpu, begin = sum(self.loop.calls()), self.totals(), cpu_s(), time.perf_counter()
        self.loop.adopt(0, *plan(self.in_flight, registers), 1)
        drain(self, samples, seconds)
        done, failed = (after - then for after, then in zip(self.totals(), before, strict=True))
        span = time.perf_counter() - begin
        self.loop.adopt(0, b"", b"", 0)
        self.drain(samples)
        return done, failed, cpu_s() - cpu, done / span, sum(self.loop.calls()) - calls

    def totals(self) -> tuple[int, int]:
        counts, _, dropped = self.loop.counters(0)
        return counts[1], sum(counts[2:5]) + dropped


def main() -> None:
    peer = Peer(int(sys.argv[1]), int(sys.argv[2]))
    print("ready", flush=True)
    samples = Samples()  # keeps its memory, as the agent's does
    for order in sys.stdin:
        seconds, registers = order.split()
        print(*peer.poll(samples, float(seconds), int(registers)), flush=True)
    peer.loop.stop()


def plan(blocks: int, registers: int) -> tuple[bytes, bytes]:
    """As many blocks of u16 tags as may be under way, always due."""
    packed, points = b"", b""
    for number in range(blocks):
        request = request_adu(UNIT, READ_HOLDING, number * registers, registers, is_tcp=True)
        times, first = (ALWAYS_DUE_NS, 0, TIMEOUT_NS, 0), number * registers
        shape = (len(request), 9 + 2 * registers, UNIT, READ_HOLDING, first, registers, request, 0)
        packed += BLOCK.pack(*times, number, 0, first, registers, *shape)
        points += u16_points(first, registers)
    return packed, points


if __name__ == "__main__":
    main()

"""fieldtap's bus loop as a peer: the lines' ports in, transactions and CPU time out.

    python -m benchmarks.peers.fieldtap_master BAUD PORT...      BAUD 0: no gaps, as fast as it goes

For every line "SECONDS REGISTERS" on stdin: polls FC 3 of unit 1 so long and prints transactions, failures, CPU
seconds, transactions/s, system calls of the loop, context switches. Samples are drained when the loop says so, as the
agent does.
"""

import resource
import select
import struct
import sys
import threading
import time

from agent._native.busloop import BusLoop
from agent._native.samples import Samples
from agent.acquire.plan import BLOCK, POINT, request_adu
from agent.acquire.port import Wire, open_port, wire_of
from agent.config.model import Bus
from agent.model import NS_PER_S, ValueType

RING_BITS = 16
TIMEOUT_NS = 500_000_000
ALWAYS_DUE_NS = 1  # a period that has always passed
SAMPLE_BYTES = 32
PLAIN = (0,) * 9  # the fields of a point after its type: a number as it stands, whatever it is
LEARN_S = 1.0  # a paced line's answers are learned in so long; an agent does that once, not for every slice


def main() -> None:
    baud, ports = int(sys.argv[1]), sys.argv[2:]
    buses = [
        Bus(name=port, port=port, baud=baud or 115200, parity="N", timeout_ns=TIMEOUT_NS, devices=()) for port in ports
    ]
    loop = BusLoop([(*(wire_of(bus) if baud else Wire(False, 0, 0)), RING_BITS) for bus in buses])
    for line, bus in enumerate(buses):
        loop.attach(line, open_port(bus).fd)
    threading.Thread(target=loop.run, daemon=True).start()
    print("ready", flush=True)
    learn_s = LEARN_S if baud else 0
    samples = Samples()  # keeps its memory, as the agent's does
    for order in sys.stdin:
        seconds, registers = order.split()
        print(*poll(loop, samples, len(ports), learn_s, float(seconds), int(registers)), flush=True)
    loop.stop()


def poll(
    loop: BusLoop, samples: Samples, lines: int, learn_s: float, seconds: float, registers: int
) -> tuple[int, int, float, float, int, int]:
    """Poll all lines for a while: transactions, failures, CPU, transactions/s, system calls, context switches."""
    for line in range(lines):
        loop.adopt(line, *plan(registers), 1)
    if learn_s:
        drain(loop, samples, learn_s)
    calls, before, switches, cpu = sum(loop.calls()), totals(loop, lines), context_switches(), cpu_s()
    span_ns = drain(loop, samples, seconds)
    for line in range(lines):
        loop.adopt(line, b"", b"", 0)
    cpu, switches = cpu_s() - cpu, context_switches() - switches
    done, failed = (after - then for after, then in zip(totals(loop, lines), before, strict=True))
    return done, failed, cpu, (done - lines) / span_ns * NS_PER_S, sum(loop.calls()) - calls, switches


def drain(loop: BusLoop, samples: Samples, seconds: float) -> int:
    """Take the samples when a ring is half full; returns the time from the first to the last of them."""
    bell = select.poll()
    bell.register(loop.fileno(), select.POLLIN)
    first, last = 0, 1
    samples.clear()
    loop.drain(samples)  # of before
    end = time.perf_counter() + seconds
    while (left := end - time.perf_counter()) > 0 or not samples:
        bell.poll(left * 1000)
        samples.clear()
        if loop.drain(samples):
            last = struct.unpack_from("=q", samples, SAMPLE_BYTES * (len(samples) - 1))[0]
            first = first or struct.unpack_from("=q", samples)[0]
    return last - first


def totals(loop: BusLoop, lines: int) -> tuple[int, int]:
    """Answered, and failed in any way."""
    counts = [loop.counters(line)[0] for line in range(lines)]
    return sum(each[1] for each in counts), sum(sum(each[2:5]) for each in counts)


def plan(registers: int, period_ns: int = ALWAYS_DUE_NS) -> tuple[bytes, bytes]:
    """One block of u16 tags."""
    request = request_adu(1, 3, 0, registers, is_tcp=False)
    block = BLOCK.pack(
        period_ns,
        0,
        TIMEOUT_NS,
        0,
        0,
        0,
        0,
        registers,
        len(request),
        5 + 2 * registers,
        1,
        3,
        0,
        registers,
        request,
        0,
    )
    return block, u16_points(0, registers)


def u16_points(first: int, registers: int) -> bytes:
    """A tag for each register of a block, numbered from `first` on."""
    return b"".join(POINT.pack(first + at, at, 1, ValueType.U16, *PLAIN) for at in range(registers))


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def context_switches() -> int:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_nvcsw + used.ru_nivcsw


if __name__ == "__main__":
    main()

"""Buses and their plan in, samples and counters out: the native loop, its thread and its ports."""

import threading
from collections.abc import Sequence
from typing import NamedTuple

from agent._native.busloop import BusLoop
from agent._native.samples import Samples
from agent.acquire.plan import BusPlan, Plan
from agent.acquire.port import wire_of
from agent.acquire.supervisor import Supervisor
from agent.acquire.tickets import Steps, Ticket, Tickets
from agent.acquire.trace import LineTrace, frames_of
from agent.clock import boot_ns
from agent.config.model import Bus

RING_S = 20  # a ring holds what its bus reads in so long: the consumer may be busy with its store or its link
RING_BITS = range(10, 18)  # 32 KiB ... 4 MiB
STOP_S = 0.1  # the supervisor may sit in a connect(2); it closes what it gets and ends by itself


class Counts(NamedTuple):
    """What happened on a bus or with a device, since start; the order is that of _native.busloop.COUNTERS."""

    transactions: int
    ok: int
    timeouts: int
    crc_errors: int
    exceptions: int
    stale_discarded: int  # answers that came when they were no longer awaited
    ambiguous: int  # exceptions that may have been late ones, discarded too
    overruns: int  # polls skipped because bus or device were not ready in their period
    busy_ns: int
    barriers: int  # loop-backs, sent to be sure that no late answer is under way
    probes: int  # requests to devices that seem to be dead
    noise_bytes: int  # in no answer: the line's quality
    collisions: int  # the line's echo differed from what was sent


class BusStats(NamedTuple):
    """One bus: its counters, its port and its devices."""

    counts: Counts
    ring_dropped: int  # samples lost because nobody drained the ring
    utilisation: float  # share of the time that the line was taken
    port: str  # opening, open, failed
    error: str  # why it is not open
    devices: dict[str, Counts]


class Acquisition:
    """All buses of an agent: ports opened by a supervisor thread, one native loop thread that serves them."""

    def __init__(self, buses: Sequence[Bus], plan: Plan) -> None:
        self._buses = tuple(buses)
        self._plan = plan
        self._loop = BusLoop([(*wire_of(bus), _ring_bits(part)) for bus, part in self._pairs(plan)])
        self._supervisor = Supervisor(self._loop, self._buses)
        self.tickets = Tickets(self._loop, self._buses)
        self._threads = [
            threading.Thread(target=self._loop.run, name="fieldtap-bus", daemon=True),
            threading.Thread(target=self._supervisor.run, name="fieldtap-port", daemon=True),
        ]
        self._started_ns = 0
        self.replan(plan)

    def start(self) -> None:
        """Open the ports and poll. A port that cannot be opened is retried, not raised."""
        self._started_ns = boot_ns()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop polling and close the ports; what is in the rings can still be drained."""
        self._loop.stop()
        self._threads[0].join()
        self.tickets.cancel("the agent has stopped")
        self._supervisor.stop()
        self._threads[1].join(STOP_S)

    def replan(self, plan: Plan) -> None:
        """Let the same buses run another plan from now on, without closing a port."""
        for line, (_, part) in enumerate(self._pairs(plan)):
            self._loop.adopt(line, part.blocks, part.points, len(part.devices))
        self._plan = plan

    def submit(self, bus: str, steps: Steps) -> Ticket:
        """Carry out requests between the polls of a bus. `tickets` tells when they are done."""
        names = [each.name for each in self._buses]
        if bus not in names:
            raise ValueError(f"no bus {bus}; there are {', '.join(names)}")
        return self.tickets.submit(names.index(bus), steps, boot_ns())

    def fileno(self) -> int:
        """An eventfd: readable when a ring is half full or something urgent happened, until drain()."""
        return self._loop.fileno()

    def drain(self, into: Samples) -> int:
        """Append the samples of all buses; returns how many."""
        return self._loop.drain(into)

    def stats(self) -> dict[str, BusStats]:
        """The state and the counters of each bus, by name."""
        return {part.name: self._bus_stats(line, part) for line, part in enumerate(self._plan.buses)}

    def trace(self) -> tuple[LineTrace, ...]:
        """The last frames of each bus."""
        pairs = enumerate(zip(self._buses, self._plan.buses, strict=True))
        return tuple(
            LineTrace(part.name, bus.protocol == "modbus-tcp", frames_of(self._loop.trace(line)))
            for line, (bus, part) in pairs
        )

    def _bus_stats(self, line: int, part: BusPlan) -> BusStats:
        counts, devices, dropped = self._loop.counters(line)
        elapsed_ns = max(1, boot_ns() - self._started_ns)
        state, error = self._supervisor.state(line)
        bus = Counts(*counts)
        by_name = {name: Counts(*device) for name, device in zip(part.devices, devices, strict=False)}
        return BusStats(bus, dropped, bus.busy_ns / elapsed_ns, state, error, by_name)

    def _pairs(self, plan: Plan) -> list[tuple[Bus, BusPlan]]:
        names = [bus.name for bus in self._buses]
        if [part.name for part in plan.buses] != names:
            raise ValueError(f"the plan is for other buses than {', '.join(names)}")
        return list(zip(self._buses, plan.buses, strict=True))


def _ring_bits(part: BusPlan) -> int:
    wanted = int(part.samples_per_s * RING_S).bit_length()
    return min(max(wanted, RING_BITS[0]), RING_BITS[-1])

"""Buses and their plan in, samples and counters out: what the agent sees of its native loops."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

from agent._native.samples import Samples
from agent.acquire.lessons import Lessons
from agent.acquire.limits import described
from agent.acquire.loops import Loops
from agent.acquire.memory import Memory
from agent.acquire.plan import BusPlan, Plan
from agent.acquire.port import wire_of
from agent.acquire.scheduling import Scheduling, hasten
from agent.acquire.statistics import Mishap, Spans, mishap_of, spans_of
from agent.acquire.tickets import Steps, Ticket, Tickets
from agent.acquire.trace import LineTrace, frames_of
from agent.clock import boot_ns, wall_clock
from agent.config.model import Bus
from agent.model import NS_PER_S

log = logging.getLogger(__name__)

RING_S = 20  # a ring holds what its bus reads in so long: the consumer may be busy with its store or its link
RING_BITS = range(10, 18)  # 32 KiB ... 4 MiB
AS_ALL = Scheduling()


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


class DeviceStats(NamedTuple):
    """One device: its counters, how long its answers take after the request's last byte, what went wrong last."""

    counts: Counts
    answers: Spans | None
    mishap: Mishap | None


class BusStats(NamedTuple):
    """One bus: its counters, its port and its devices."""

    counts: Counts
    ring_dropped: int  # samples lost because nobody drained the ring
    utilisation: float  # share of the time that the line was taken
    port: str  # opening, open, failed
    error: str  # why it is not open
    devices: dict[str, DeviceStats]
    lateness: Spans | None = None  # of polls, from when they were due
    notes: tuple[str, ...] = ()  # what the port's driver granted and refused
    finding: str = ""  # why answers are damaged


class Acquisition:
    """All buses of an agent: ports are opened by threads of their own, one native thread serves each kind of bus."""

    def __init__(
        self, buses: Sequence[Bus], plan: Plan, memory: Memory | None = None, scheduling: Scheduling = AS_ALL
    ) -> None:
        """`plan` is the one compiled with what `memory` knows; without a memory, what devices teach is forgotten."""
        self._buses = tuple(buses)
        self._memory = memory
        self._scheduling = scheduling
        self._loops = Loops(self._buses, [(wire_of(bus), _ring_bits(part)) for bus, part in _pairs(buses, plan)])
        self.tickets = Tickets(self._loops, self._buses)
        self._started_ns = 0
        self.replan(buses, plan)

    def start(self) -> None:
        """Open the ports and poll. A port that cannot be opened is retried, not raised."""
        self._started_ns = boot_ns()
        self._loops.start()
        for thread in self._loops.native_threads:
            for note in hasten(thread, self._scheduling):
                log.log(logging.INFO if note.done else logging.WARNING, "bus loop: %s", note)

    def stop(self) -> list[Ticket]:
        """Stop polling and close the ports; what is in the rings can still be drained. Returns the tickets it ended."""
        self._loops.stop()
        return self.tickets.cancel("the agent has stopped")

    def replan(self, buses: Sequence[Bus], plan: Plan) -> None:
        """Let the same buses, with other devices or tags, run another plan from now on, without closing a port."""
        names = [bus.name for bus in self._buses]
        if [bus.name for bus in buses] != names:
            raise ValueError(f"the plan is for other buses than {', '.join(names)}")
        self._buses = tuple(buses)
        self._plan = plan
        self._lessons = Lessons(buses, plan, self._memory.recall(buses) if self._memory else {})
        self._known = dict(self._lessons.learned())
        for line, (_, part) in enumerate(_pairs(buses, plan)):
            self._loops.adopt(line, part.blocks, part.points, len(part.devices))

    def submit(self, bus: str, steps: Steps) -> Ticket:
        """Carry out requests between the polls of a bus. `tickets` tells when they are done."""
        names = [each.name for each in self._buses]
        if bus not in names:
            raise ValueError(f"no bus {bus}; there are {', '.join(names)}")
        return self.tickets.submit(names.index(bus), steps, boot_ns())

    def fileno(self) -> int:
        """An eventfd: readable when a ring is half full or something urgent happened, until drain()."""
        return self._loops.fileno()

    def drain(self, into: Samples) -> int:
        """Append the samples of all buses, and learn from them what the devices can do; returns how many."""
        before = len(into)
        drained = self._loops.drain(into)
        for line in self._lessons.observe(into, before):
            self._replan_line(line)
        return drained

    def stats(self) -> dict[str, BusStats]:
        """The state and the counters of each bus, by name."""
        return {part.name: self._bus_stats(line, part) for line, part in enumerate(self._plan.buses)}

    def trace(self) -> tuple[LineTrace, ...]:
        """The last frames of each bus."""
        pairs = enumerate(zip(self._buses, self._plan.buses, strict=True))
        return tuple(
            LineTrace(part.name, bus.protocol == "modbus-tcp", frames_of(self._loops.trace(line)))
            for line, (bus, part) in pairs
        )

    def _replan_line(self, line: int) -> None:
        """The devices of a bus have taught something: go on with the reads that follow from it."""
        part = self._lessons.plan_of(line)
        self._loops.adopt(line, part.blocks, part.points, len(part.devices))
        before, self._known = self._known, dict(self._lessons.learned())
        if self._known == before:
            return  # a search goes on
        for device, learned in self._known.items():
            if learned != before[device]:
                log.info("bus %s: device %s: learned: %s", device.bus, device.device, described(learned))
        if self._memory:
            self._memory.remember(self._buses, self._known)

    def _bus_stats(self, line: int, part: BusPlan) -> BusStats:
        counts, devices, dropped = self._loops.counters(line)
        elapsed_ns = max(1, boot_ns() - self._started_ns)
        state, error = self._loops.state(line)
        bus = Counts(*counts)
        lateness, seen = self._loops.statistics(line)
        clock = wall_clock()
        by_name = {
            name: DeviceStats(Counts(*counted), spans_of(answers), mishap_of(noted, clock))
            for name, counted, (answers, noted) in zip(part.devices, devices, seen, strict=False)
        }
        notes = tuple(map(str, self._loops.notes(line)))
        finding = self._loops.finding(line)
        sentence = finding.sentence if finding else ""
        share = bus.busy_ns / elapsed_ns
        return BusStats(bus, dropped, share, state, error, by_name, spans_of(lateness), notes, sentence)


def _pairs(buses: Sequence[Bus], plan: Plan) -> list[tuple[Bus, BusPlan]]:
    if [part.name for part in plan.buses] != [bus.name for bus in buses]:
        raise ValueError(f"the plan is for other buses than {', '.join(bus.name for bus in buses)}")
    return list(zip(buses, plan.buses, strict=True))


def _ring_bits(part: BusPlan) -> int:
    per_s = sum(len(info.tags) * NS_PER_S / info.period_ns for info in part.block_info)
    wanted = int(per_s * RING_S).bit_length()
    return min(max(wanted, RING_BITS[0]), RING_BITS[-1])

"""Buses and their plan in, samples and counters out: what the agent sees of its native loops."""

import logging
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from itertools import repeat

from agent._native.samples import Samples
from agent.acquire.advice import advise
from agent.acquire.chronicle import Chronicle
from agent.acquire.lessons import Lessons
from agent.acquire.limits import Learned, described
from agent.acquire.loops import Loops
from agent.acquire.memory import Memory
from agent.acquire.places import Places, placed
from agent.acquire.plan import BusPlan, DeviceKey, Plan
from agent.acquire.port import wire_of
from agent.acquire.quality import Line, Seen
from agent.acquire.scheduling import Scheduling, hasten
from agent.acquire.statistics import BusStats, Counts, DeviceStats, Silences, mishap_of, silences_of, spans_of
from agent.acquire.tickets import Steps, Ticket, Tickets
from agent.acquire.trace import LineTrace, pieces_in_rtu, pieces_of
from agent.clock import boot_ns, wall_clock
from agent.config.model import Bus
from agent.errors import NotSentError
from agent.model import NS_PER_MS, NS_PER_S

log = logging.getLogger(__name__)

RING_S = 20  # a ring holds what its bus reads in so long: the consumer may be busy with its store or its link
RING_BITS = range(10, 18)  # 32 KiB ... 4 MiB
LOOK_NS = 5 * NS_PER_S  # how late an event may be told; a look at 200 devices takes a quarter of a millisecond
AS_ALL = Scheduling()


class Acquisition:
    """All buses of an agent: ports are opened by threads of their own, one native thread serves each kind of bus."""

    def __init__(
        self, buses: Sequence[Bus], plan: Plan, memory: Memory | None = None, scheduling: Scheduling = AS_ALL
    ) -> None:
        """`plan` is the one compiled with what `memory` knows; without a memory, what devices teach is forgotten."""
        self._buses = tuple(buses)
        self._memory = memory
        self._scheduling = scheduling
        self.chronicle = Chronicle()
        wires = [(wire_of(bus), _ring_bits(part)) for bus, part in _pairs(buses, plan)]
        self._loops = Loops(self._buses, wires, self.chronicle)
        self._qualities = [Line() for _ in buses]
        self._look_ns = 0
        self.tickets = Tickets(self._loops, self._buses)
        self._started_ns = 0
        self._ended_ns: int | None = None
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
        self._ended_ns = self._look_ns = boot_ns()
        self.look(self._ended_ns)
        return self.tickets.cancel("the agent has stopped")

    def replan(self, buses: Sequence[Bus], plan: Plan) -> None:
        """Let the same buses, with other devices or tags, run another plan from now on, without closing a port."""
        names = [bus.name for bus in self._buses]
        if [bus.name for bus in buses] != names:
            raise ValueError(f"the plan is for other buses than {', '.join(names)}")
        self._buses = tuple(buses)
        self._plan = plan
        self._places = Places(buses, self._memory.places(buses) if self._memory else {})
        self._lessons = Lessons(buses, plan, self._recall(buses), self._places.hidden)
        self._known = dict(self._lessons.learned())
        for line, _ in enumerate(_pairs(buses, plan)):
            self._adopt(line)

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
        self._lessons.observe(into, before)
        self._learn(boot_ns())
        return drained

    def look(self, now_ns: int) -> int:
        """Go on learning and looking for models, tell of devices that have turned; returns when to look next."""
        self._learn(now_ns)
        lines = self._places.turn(now_ns, self._ask, self.chronicle.tell)
        if lines:
            self._place(lines)
        if now_ns >= self._look_ns:
            self._look_ns = now_ns + LOOK_NS
            for line, part in enumerate(self._plan.buses):
                self._look_at(line, part)
        return min(self._look_ns, self._places.next_ns())

    def _ask(self, line: int, steps: Steps) -> Ticket:
        return self.tickets.submit(line, steps, boot_ns())

    def stats(self) -> dict[str, BusStats]:
        """The state and the counters of each bus, by name."""
        return {part.name: self._bus_stats(line, part) for line, part in enumerate(self._plan.buses)}

    def trace(self) -> tuple[LineTrace, ...]:
        """The last pieces that went over each bus."""
        pairs = enumerate(zip(self._buses, self._plan.buses, strict=True))
        return tuple(_traced(part.name, bus.protocol, self._loops.trace(line)) for line, (bus, part) in pairs)

    def _learn(self, now_ns: int) -> None:
        """Ask devices what they can do, and go on with what has come of it."""
        for line in self._lessons.take_changed():
            self._replan_line(line)
        if self._ended_ns is None:
            for line, steps in self._lessons.asks(now_ns):
                with suppress(NotSentError):  # so many wait that this can, too
                    self.tickets.submit(line, steps, now_ns)

    def _recall(self, buses: Sequence[Bus]) -> dict[DeviceKey, Learned]:
        return self._memory.recall(buses) if self._memory else {}

    def _adopt(self, line: int) -> None:
        part = self._lessons.plan_of(line)
        self._loops.adopt(line, part.blocks, part.points, len(part.devices))

    def _place(self, lines: Collection[int]) -> None:
        """SunSpec models of these buses were found, or lost: read them where they are."""
        starts = self._places.starts()
        self._buses = placed(self._buses, starts)
        for line in lines:
            bus = self._buses[line]
            self._lessons.place(line, bus, self._recall([bus]), self._places.hidden)
            self._adopt(line)
        self._known = dict(self._lessons.learned())
        if self._memory:
            self._memory.remember_places(self._buses, starts)

    def _replan_line(self, line: int) -> None:
        """The devices of a bus have taught something: go on with the reads that follow from it."""
        self._adopt(line)
        before, self._known = self._known, dict(self._lessons.learned())
        for device, learned in self._known.items():
            if learned != before[device]:
                log.info("bus %s: device %s: learned: %s", device.bus, device.device, described(learned))
        if self._memory:
            self._memory.remember(self._buses, self._known)

    def _look_at(self, line: int, part: BusPlan) -> None:
        counted = self._loops.counters(line)[1]
        seen = zip(part.devices, counted, self._loops.suspects(line), strict=False)
        devices = {name: Seen(Counts(*counts), is_suspect) for name, counts, is_suspect in seen}
        for change in self._qualities[line].look(devices):
            self.chronicle.tell(change.kind, part.name, change.words, change.device)

    def _bus_stats(self, line: int, part: BusPlan) -> BusStats:
        bus = self._buses[line]
        counts, dropped = Counts(*self._loops.counters(line)[0]), self._loops.counters(line)[2]
        elapsed_ns = max(1, (self._ended_ns or boot_ns()) - self._started_ns)
        state, error = self._loops.state(line)
        finding = self._loops.finding(line)
        wire = wire_of(bus)
        stats = BusStats(
            counts,
            dropped,
            counts.busy_ns / elapsed_ns,
            state,
            error,
            self._device_stats(line, part),
            (counts.bytes_sent + counts.bytes_heard) * wire.char_ns / elapsed_ns if wire.char_ns else None,
            spans_of(self._loops.statistics(line)[0]),
            tuple(map(str, self._loops.notes(line))),
            finding.sentence if finding else "",
            self._loops.uart(line),
            self._loops.marks(line),
            silence_ms=wire.quiet_ns / NS_PER_MS if wire.quiet_ns else None,
        )
        return stats._replace(advice=advise(bus, stats))

    def _device_stats(self, line: int, part: BusPlan) -> dict[str, DeviceStats]:
        clock, bus = wall_clock(), self._buses[line]
        units = {device.name: device.unit for device in bus.devices}
        counted, suspects = self._loops.counters(line)[1], self._loops.suspects(line)
        rows = zip(part.devices, counted, self._loops.statistics(line)[1], suspects, self._silences(line), strict=False)
        return {
            name: DeviceStats(
                units[name],
                Counts(*counts),
                spans_of(round_trips),
                spans_of(turnarounds),
                mishap_of(noted, clock, is_ascii=bus.protocol == "modbus-ascii"),
                is_suspect,
                learned,
            )
            for name, counts, (round_trips, turnarounds, noted), is_suspect, learned in rows
        }

    def _silences(self, line: int) -> Iterable[Silences | None]:
        """What each device of a line has taught about silences; None: the line keeps t3.5."""
        if not wire_of(self._buses[line]).least_ns:
            return repeat(None)
        return [silences_of(*learned) for learned in self._loops.silences(line)]


def _pairs(buses: Sequence[Bus], plan: Plan) -> list[tuple[Bus, BusPlan]]:
    if [part.name for part in plan.buses] != [bus.name for bus in buses]:
        raise ValueError(f"the plan is for other buses than {', '.join(bus.name for bus in buses)}")
    return list(zip(buses, plan.buses, strict=True))


def _traced(name: str, protocol: str, records: bytes) -> LineTrace:
    pieces = pieces_of(records)
    return LineTrace(name, protocol == "modbus-tcp", pieces_in_rtu(pieces) if protocol == "modbus-ascii" else pieces)


def _ring_bits(part: BusPlan) -> int:
    per_s = sum(len(info.tags) * NS_PER_S / info.period_ns for info in part.block_info)
    wanted = int(per_s * RING_S).bit_length()
    return min(max(wanted, RING_BITS[0]), RING_BITS[-1])

"""Ports that are missing or lost in, open ports out to the loop: opening, retrying, examining, away from the bus.

A port whose node is not there is tried again the moment one appears beside it (watch.py); everything else that keeps a
port from opening, and nodes where appearing cannot be watched, with pauses that grow. Open ones are looked at now and
then: what their drivers count tells why answers are damaged.
"""

import logging
import os
import random
import select
from collections.abc import Callable, Sequence
from typing import Protocol

from agent._native.busloop import COUNTERS
from agent.acquire import counters, lock
from agent.acquire.chronicle import Chronicle
from agent.acquire.diagnosis import Counted, Finding, Uart, Window, is_unsure
from agent.acquire.events import Kind
from agent.acquire.kernel import Note
from agent.acquire.port import VANISHED, Port, is_remote, open_port
from agent.acquire.watch import Watch
from agent.clock import boot_ns
from agent.config.model import Bus
from agent.errors import FieldtapError
from agent.model import NS_PER_MS

FIRST_RETRY_MS = 200
LAST_RETRY_MS = 5000
LAST_UNWATCHED_RETRY_MS = 500  # a port that comes back is served within a second, also where nothing tells of it
NODE_PAUSE_MS = 50  # however fast nodes come and go, a port is not tried more often
EXAMINE_MS = 10_000  # at this pace examining costs a hundred microseconds a minute
TIMEOUTS, CRC_ERRORS = COUNTERS.index("timeouts"), COUNTERS.index("crc_errors")
NO_UART = Uart(0, 0, 0, 0, 0)
JITTER = 0.2  # buses that failed together do not retry together

log = logging.getLogger(__name__)


class Lines(Protocol):
    """What the supervisor needs of the native loop."""

    def attach(self, line: int, fd: int) -> None:
        """Serve the line through this port."""

    def fail(self, line: int) -> None:
        """There is no port: the line's tags say so."""

    def take_lost(self, line: int) -> tuple[int, int] | None:
        """The port that was lost and its errno, to be closed; None: all is well."""

    def supervisor_fileno(self) -> int:
        """An eventfd, readable when a port was lost."""

    def counters(self, line: int) -> tuple[tuple[int, ...], list[tuple[int, ...]], int]:
        """Counters of the line first, in the order of COUNTERS."""

    def mark(self, line: int, on: bool) -> None:
        """Whether the line's terminal marks damaged characters from now on."""

    def marks(self, line: int) -> tuple[int, int, int]:
        """Characters heard while marking, those marked, and those of them that may have been breaks."""


class _Slot:
    """One bus's port: open, or waiting for the next try."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.port: Port | None = None
        self.retry_ms = FIRST_RETRY_MS
        self.retry_at_ns = 0
        self.tried_ns = 0
        self.watched = False  # something tells when its node appears
        self.error = ""  # why it is not open; empty before the first try
        self.notes: tuple[Note, ...] = ()  # what the driver last granted
        self.marking = False  # damaged characters are marked in what is read
        self.can_mark = self.marks_help
        self.window: Window | None = None
        self.finding: Finding | None = None  # what is wrong with the line
        self.uart: Uart | None = None  # what its driver has counted since the start; None: it does not tell
        self.uart_read: Uart | None = None  # its counters when they were last read

    @property
    def marks_help(self) -> bool:
        """A frame of ASCII is spoilt by any damaged character, marked or not."""
        return self.bus.protocol != "modbus-ascii"

    @property
    def state(self) -> str:
        if self.port is not None:
            return "open"
        return "failed" if self.error else "opening"


class Supervisor:
    """Opens every bus's port and, when it fails or vanishes, tries again with growing pauses. run() is its thread."""

    def __init__(
        self,
        lines: Lines,
        buses: Sequence[Bus],
        chronicle: Chronicle,
        open_: Callable[[Bus], Port] = open_port,
        watch: Watch | None = None,
    ) -> None:
        self._lines = lines
        self._chronicle = chronicle
        self._open = open_
        self._watch = watch or Watch()
        self._slots = [_Slot(bus) for bus in buses]
        self._stopping = False
        self._examine_at_ns = boot_ns() + EXAMINE_MS * NS_PER_MS

    def run(self) -> None:
        """Serve until stop(); closes all ports at the end."""
        while not self._stopping:
            for line, slot in enumerate(self._slots):
                self._serve(line, slot)
            if all(slot.port for slot in self._slots):
                self._watch.close()
            if boot_ns() >= self._examine_at_ns:
                self._examine_all()
            self._sleep()
        self._watch.close()
        for slot in self._slots:
            if slot.port is not None:
                _count(slot, slot.port)
                slot.port.close()

    def stop(self) -> None:
        """Make run() return; the loop must not use the ports any more."""
        self._stopping = True
        os.eventfd_write(self._lines.supervisor_fileno(), 1)

    def state(self, line: int) -> tuple[str, str]:
        """`opening`, `open` or `failed`, and the last error."""
        return self._slots[line].state, self._slots[line].error

    def notes(self, line: int) -> tuple[Note, ...]:
        """What the driver of the line's port granted and refused when it was last opened."""
        return self._slots[line].notes

    def finding(self, line: int) -> Finding | None:
        """What is wrong with the line, as far as its damaged answers and its driver's counters tell."""
        return self._slots[line].finding

    def uart(self, line: int) -> Uart | None:
        """What the driver of the line's port has counted since the start; None: it does not tell."""
        return self._slots[line].uart

    def _sleep(self) -> None:
        """Until a try is due, a port was lost, or a node appeared."""
        bell = self._lines.supervisor_fileno()
        nodes = self._watch.fileno()
        waiter = select.poll()
        waiter.register(bell, select.POLLIN)
        if nodes is not None:
            waiter.register(nodes, select.POLLIN)
        ready = [fd for fd, _ in waiter.poll(self._pause_ms())]
        if bell in ready:
            os.eventfd_read(bell)
        if nodes in ready:
            self._watch.drain()
            self._hurry()

    def _hurry(self) -> None:
        """A node appeared: it may be anybody's."""
        for slot in self._slots:
            if slot.watched:
                slot.retry_at_ns = min(slot.retry_at_ns, slot.tried_ns + NODE_PAUSE_MS * NS_PER_MS)

    def _serve(self, line: int, slot: _Slot) -> None:
        lost = self._lines.take_lost(line)
        if lost is not None and slot.port is not None:
            self._lose(slot, slot.port, lost[1])
        if slot.port is None and boot_ns() >= slot.retry_at_ns and not self._stopping:
            self._try(line, slot)

    def _lose(self, slot: _Slot, port: Port, why: int) -> None:
        """Closed at once: as long as it is open, the adapter comes back under another name."""
        port.close()
        slot.watched = self._watch.cover(slot.bus.port)
        slot.port = None
        reason = os.strerror(why) if why else "closed by the other side"
        if why in VANISHED:
            reason = "unplugged"
        self._report(slot, f"{slot.bus.port}: lost: {reason}")
        self._schedule(slot)

    def _try(self, line: int, slot: _Slot) -> None:
        first = not slot.error
        slot.tried_ns = boot_ns()
        slot.watched = self._watch.cover(slot.bus.port)  # first, so that nothing appears unseen after the try
        try:
            slot.port = self._open(slot.bus)
        except (FieldtapError, OSError) as error:
            self._report(slot, str(error))
            self._schedule(slot)
            if first:  # a lost port has failed its tags already
                self._lines.fail(line)
            return
        slot.error = ""
        slot.retry_ms = FIRST_RETRY_MS
        slot.window = None
        slot.uart_read = None
        _count(slot, slot.port)
        slot.can_mark = slot.marks_help
        if slot.port.before is not None and slot.can_mark:
            self._mark(line, slot, slot.port, on=slot.bus.mark_errors == "on")
        self._lines.attach(line, slot.port.fd)
        self._tell_open(slot, slot.port)  # last: who hears of it may have requests for it

    def _tell_open(self, slot: _Slot, port: Port) -> None:
        """What was granted once, what was refused as a warning with its remedy; a replugged port is no news."""
        granted = ", ".join(str(note) for note in port.notes if note.done)
        self._chronicle.tell(Kind.PORT_UP, slot.bus.name, f"{port.path} is open{f' ({granted})' if granted else ''}")
        if port.notes == slot.notes:
            return
        for note in port.notes:
            if not note.done:
                log.log(
                    logging.WARNING if note.remedy else logging.INFO, "bus %s: %s: %s", slot.bus.name, port.path, note
                )
        slot.notes = port.notes

    def _report(self, slot: _Slot, error: str) -> None:
        """Say it once, not at every try."""
        if error != slot.error:
            self._chronicle.tell(Kind.PORT_DOWN, slot.bus.name, error)
        slot.error = error

    def _schedule(self, slot: _Slot) -> None:
        jitter = 1 + JITTER * (2 * random.random() - 1)  # noqa: S311 # spreads retries, guards no secret
        slot.retry_at_ns = boot_ns() + int(slot.retry_ms * jitter * NS_PER_MS)
        told = slot.watched or is_remote(slot.bus.port)
        slot.retry_ms = min(2 * slot.retry_ms, LAST_RETRY_MS if told else LAST_UNWATCHED_RETRY_MS)

    def _pause_ms(self) -> float:
        """Until the next try or look."""
        waiting = [slot.retry_at_ns for slot in self._slots if slot.port is None]
        return max(0, min([self._examine_at_ns, *waiting]) - boot_ns()) / NS_PER_MS + 1

    # --- what is wrong with a line ---

    def _examine_all(self) -> None:
        self._examine_at_ns = boot_ns() + EXAMINE_MS * NS_PER_MS
        for line, slot in enumerate(self._slots):
            if slot.port is not None and slot.port.before is not None:
                self._examine(line, slot, slot.port)

    def _examine(self, line: int, slot: _Slot, port: Port) -> None:
        counts = self._lines.counters(line)[0]
        _count(slot, port)
        marks = self._lines.marks(line)
        now = Counted(counts[0], counts[TIMEOUTS], counts[CRC_ERRORS], slot.uart_read, marks)
        if slot.window is None:
            slot.window = Window(now)
        elif slot.window.look(now, marking=slot.marking):
            self._tell_finding(slot, port, slot.window.finding)
            if slot.bus.mark_errors == "auto" and slot.can_mark and not slot.marking and is_unsure(slot.finding):
                self._mark(line, slot, port, on=True)

    def _mark(self, line: int, slot: _Slot, port: Port, *, on: bool) -> None:
        """The loop first: marks that it took for data would cost more than data that it takes for marks."""
        self._lines.mark(line, on)
        slot.marking = on
        try:
            port.mark(on=on)
        except OSError as error:
            self._lines.mark(line, False)
            slot.marking = slot.can_mark = False
            log.info("bus %s: %s: damaged characters cannot be marked: %s", slot.bus.name, port.path, error.strerror)

    def _tell_finding(self, slot: _Slot, port: Port, finding: Finding | None) -> None:
        """Once for each cause."""
        before, slot.finding = slot.finding, finding
        if finding and (before is None or before.cause != finding.cause):
            self._chronicle.tell(Kind.DAMAGE_BEGAN, slot.bus.name, f"damaged answers: {finding.sentence}")
            others = lock.sharers(port.kernel, port.path)
            if others:
                log.warning("bus %s: %s is also read by %s, end it", slot.bus.name, port.path, others)
        elif before and not finding:
            self._chronicle.tell(Kind.DAMAGE_OVER, slot.bus.name, "answers arrive intact again")


def _count(slot: _Slot, port: Port) -> None:
    """Add what the driver has counted since it was last asked; a port that is opened anew begins anew."""
    read = counters.read(port.kernel, port.fd) if port.before is not None else None
    if read:
        fresh = read.since(slot.uart_read or read)
        slot.uart = Uart(*map(sum, zip(slot.uart or NO_UART, fresh, strict=True)))
    slot.uart_read = read

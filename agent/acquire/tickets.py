"""Requests of the agent's other parts in, carried out between the polls; each one's result, through its ticket, out.

What is submitted is a generator that yields Asks, is sent the PDUs that answer them, and returns its result: one read,
or a write with its reading back. Of one unit one is carried out at a time, in the order they were submitted.
"""

import contextlib
import os
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any, Protocol

from agent._native import codec
from agent._native.busloop import ENDS
from agent.acquire import pdu
from agent.acquire.pdu import Ask
from agent.acquire.port import wire_of
from agent.config.model import Bus
from agent.errors import BusError, DeviceError, FieldtapError, NotSentError
from agent.model import NS_PER_MS, NS_PER_S

Steps = Generator[Ask, bytes, Any]

MAX_WAITING = 32  # of one bus; who wants more is faster than the bus
WAIT_NS = 10 * NS_PER_S  # a request that could not be sent by then is given up: as long as a device may owe an answer
BROADCAST_NS = 200 * NS_PER_MS  # Modbus over Serial Line V1.02, 2.4.1

NOT_SENT = {
    "no-port": "the port is not open",
    "too-late": f"the line or the device was not free within {WAIT_NS // NS_PER_S} s",
}
IN_DOUBT = {
    "timed-out": "no answer",
    "damaged": "a damaged answer",
    "ambiguous": "an exception that may belong to another request",
    "lost": "the port was lost before the answer",
}


class Errands(Protocol):
    """What tickets need of the native loop."""

    def offer(self, line: int, request: bytes, answer_bytes: int, timeout_ns: int, deadline_ns: int) -> int | None:
        """The slot where the request waits to be sent once; None: there is no room."""

    def take(self, line: int, slot: int) -> tuple[int, bytes, int, int] | None:
        """How it ended, the answer, when it was sent and when it was done; None: not yet."""

    def errand_fileno(self) -> int:
        """An eventfd, readable when some are done."""


class Ticket:
    """Stands for what was submitted. Once it is `done`, `result` is there, or `error` says why there is none."""

    def __init__(self, steps: Steps) -> None:
        self.done = False
        self.result: Any = None
        self.error: FieldtapError | None = None
        self._steps = steps

    def next_ask(self, answer: bytes | FieldtapError | None) -> Ask | None:
        """Go on with this answer; the next request, or None when it is done."""
        try:
            if isinstance(answer, FieldtapError):
                return self._steps.throw(answer)
            return next(self._steps) if answer is None else self._steps.send(answer)
        except StopIteration as end:
            self.result = end.value
        except FieldtapError as error:
            self.error = error
        self.done = True
        return None


class _Line:
    """One bus: tickets that wait, and those whose request is in a slot."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.is_tcp = wire_of(bus).is_tcp
        self.waiting: deque[tuple[Ticket, Ask]] = deque()
        self.out: dict[int, tuple[Ticket, Ask]] = {}

    @property
    def units(self) -> set[int]:
        return {ask.unit for _, ask in self.out.values()}


class Tickets:
    """Everything that was submitted and is not done. Submit and turn in one thread; poll `fileno()` between turns."""

    def __init__(self, loop: Errands, buses: Sequence[Bus]) -> None:
        self._loop = loop
        self._lines = [_Line(bus) for bus in buses]

    def fileno(self) -> int:
        """Readable when there is something for turn() to do."""
        return self._loop.errand_fileno()

    def submit(self, line: int, steps: Steps, now_ns: int) -> Ticket:
        """Carry out these steps on a bus. Raises BusError when too many wait already."""
        queue = self._lines[line]
        if len(queue.waiting) + len(queue.out) >= MAX_WAITING:
            raise NotSentError(f"bus {queue.bus.name}: {MAX_WAITING} requests wait already")
        ticket = Ticket(steps)
        ask = ticket.next_ask(None)
        if ask is not None:
            queue.waiting.append((ticket, ask))
            self._offer(line, queue, now_ns)
        return ticket

    def turn(self, now_ns: int) -> list[Ticket]:
        """Move everything one step on; the tickets that are done since."""
        with contextlib.suppress(BlockingIOError):  # nobody rang, but looking costs nothing
            os.eventfd_read(self.fileno())
        finished: list[Ticket] = []
        for line, queue in enumerate(self._lines):
            for slot in list(queue.out):
                taken = self._loop.take(line, slot)
                if taken is not None:
                    ticket, _ = queue.out.pop(slot)
                    finished += _go_on(queue, ticket, _answer(queue.bus, ENDS[taken[0]], taken[1]))
            self._offer(line, queue, now_ns)
        return finished

    def cancel(self, why: str) -> list[Ticket]:
        """The loop has ended: nothing that is not done will be."""
        finished: list[Ticket] = []
        for line, queue in enumerate(self._lines):
            for slot, (ticket, _) in queue.out.items():
                finished += _go_on(queue, ticket, _last_answer(queue.bus, self._loop.take(line, slot), why))
            queue.out.clear()
            while queue.waiting:
                ticket, _ = queue.waiting.popleft()
                finished += _go_on(queue, ticket, NotSentError(why))
        return finished

    def _offer(self, line: int, queue: _Line, now_ns: int) -> None:
        """Put into slots what may go: the oldest of each unit that has none there."""
        busy, kept = queue.units, deque[tuple[Ticket, Ask]]()
        for ticket, ask in queue.waiting:
            slot = None if ask.unit in busy else self._slot(line, queue, ask, now_ns)
            busy.add(ask.unit)
            if slot is None:
                kept.append((ticket, ask))
            else:
                queue.out[slot] = ticket, ask
        queue.waiting = kept

    def _slot(self, line: int, queue: _Line, ask: Ask, now_ns: int) -> int | None:
        framing = codec.TCP if queue.is_tcp else codec.RTU
        is_broadcast = ask.unit == pdu.BROADCAST and not queue.is_tcp
        return self._loop.offer(
            line,
            codec.frame(framing, 0, ask.unit, ask.request),
            pdu.answer_frame_bytes(ask.request, is_tcp=queue.is_tcp),
            BROADCAST_NS if is_broadcast else queue.bus.timeout_ns,
            now_ns + WAIT_NS,
        )


def _go_on(queue: _Line, ticket: Ticket, answer: bytes | FieldtapError) -> list[Ticket]:
    """The ticket if it is done; else its next request waits, before all others of its unit."""
    ask = ticket.next_ask(answer)
    if ask is None:
        return [ticket]
    queue.waiting.appendleft((ticket, ask))
    return []


def _last_answer(bus: Bus, taken: tuple[int, bytes, int, int] | None, why: str) -> bytes | FieldtapError:
    """What became of a request by the end of the loop."""
    if taken is None:
        return BusError(why)  # it may have been sent
    answer = _answer(bus, ENDS[taken[0]], taken[1])
    return NotSentError(why) if isinstance(answer, NotSentError) else answer


def _answer(bus: Bus, end: str, answer: bytes) -> bytes | FieldtapError:
    if end in NOT_SENT:
        return NotSentError(f"bus {bus.name}: {NOT_SENT[end]}")
    if end in IN_DOUBT:
        return BusError(f"bus {bus.name}: {IN_DOUBT[end]}")
    if end == "refused":
        code = answer[1]
        return DeviceError(f"it answered {pdu.refusal(code)}", code)
    return answer

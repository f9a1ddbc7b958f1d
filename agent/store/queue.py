"""Batches and acknowledgements in, what to send next out: the order of the outbox, in memory, without I/O.

A batch is live (only in memory) or stored (only in the journal), and either waits or is taken:

    put ──▶ live, waiting ──take──▶ live, taken ──acknowledge──▶ gone
                 │  ▲──────give back─────┘ │
               stored                    stored
                 ▼                         ▼
           stored, waiting ──take──▶ stored, taken ──acknowledge──▶ gone
                    ▲──────give back─────┘
"""

from collections import deque
from collections.abc import Iterable

from agent.model import BatchKey, Message
from agent.store.recovery import Stored

MESSAGE_OVERHEAD = 512  # Python's share of a message in memory, beside its payload


class Live:
    """A message in memory and the time by which it must be acknowledged or stored."""

    __slots__ = ("due_ns", "late", "message")

    def __init__(self, message: Message, due_ns: int) -> None:
        self.message = message
        self.due_ns = due_ns
        self.late = False  # its time has come, and the journal could not take it


class Queue:
    """All batches that are not acknowledged."""

    def __init__(self) -> None:
        self.memory_bytes = 0  # of live batches
        self._live: dict[BatchKey, Live] = {}  # oldest first
        self._waiting: deque[BatchKey] = deque()  # live ones
        self._backlog: deque[Stored] = deque()  # stored ones that wait
        self._taken: dict[BatchKey, Stored | None] = {}  # None: live

    def __len__(self) -> int:
        taken_stored = sum(stored is not None for stored in self._taken.values())
        return len(self._live) + len(self._backlog) + taken_stored

    def __contains__(self, key: BatchKey) -> bool:
        return key in self._live or key in self._taken

    def put(self, live: Live) -> None:
        """A new batch."""
        self._live[live.message.key] = live
        self._waiting.append(live.message.key)
        self.memory_bytes += _cost(live.message)

    def live(self) -> Iterable[Live]:
        """Everything in memory, oldest first."""
        return self._live.values()

    def take_live(self) -> Live | None:
        """The oldest live batch that waits."""
        if not self._waiting:
            return None
        key = self._waiting.popleft()
        self._taken[key] = None
        return self._live[key]

    def next_stored(self) -> Stored | None:
        """The oldest stored batch that waits; it keeps waiting."""
        return self._backlog[0] if self._backlog else None

    def take_stored(self) -> Stored:
        """Take what next_stored() showed."""
        stored = self._backlog.popleft()
        self._taken[stored.key] = stored
        return stored

    def skip_stored(self) -> Stored:
        """Forget what next_stored() showed."""
        return self._backlog.popleft()

    def stored(self, key: BatchKey, stored: Stored) -> None:
        """A live batch is in the journal now and leaves memory."""
        self._forget_live(key)
        if key in self._taken:
            self._taken[key] = stored
        else:
            self._waiting.remove(key)
            self._backlog.append(stored)

    def detach(self) -> list[Stored]:
        """All stored batches leave the queue, those that are taken, too."""
        taken = [stored for stored in self._taken.values() if stored and stored.places]
        for stored in taken:
            del self._taken[stored.key]
        detached = sorted([*taken, *self._backlog], key=lambda one: one.places)
        self._backlog.clear()
        return detached

    def relocated(self, stored: Stored) -> None:
        """A stored batch has a new place, behind all others."""
        self._backlog.append(stored)

    def forget_stored(self) -> None:
        """The journal they are in is not there any more."""
        self._backlog.clear()

    def recovered(self, found: Iterable[Stored]) -> None:
        """Batches that a scan of the journal found."""
        self._backlog = deque(sorted([*self._backlog, *found], key=lambda one: one.places))

    def release(self, key: BatchKey) -> tuple[int, Stored | None] | None:
        """Forget a taken batch: (its samples, where it is stored); None when it is not taken."""
        if key not in self._taken:
            return None
        stored = self._taken.pop(key)
        return (stored.samples, stored) if stored else (self._forget_live(key).samples, None)

    def give_back(self) -> list[Stored]:
        """All that is taken waits again; returns those whose pages were overwritten meanwhile: they are lost."""
        lost = self.overwritten()
        back = [stored for stored in self._taken.values() if stored and stored.places]
        self._taken = {}
        self._backlog = deque(sorted([*back, *self._backlog], key=lambda one: one.places))
        self._waiting = deque(self._live)
        return lost

    def drop_live(self, *, newest: bool) -> Message | None:
        """Forget the oldest or newest live batch that waits."""
        if not self._waiting:
            return None
        return self._forget_live(self._waiting.pop() if newest else self._waiting.popleft())

    def oldest_stored(self) -> Stored | None:
        """The stored batch that was written first, taken or not."""
        taken = [stored for stored in self._taken.values() if stored and stored.places]
        return min([*taken, *([self._backlog[0]] if self._backlog else [])], key=lambda one: one.places, default=None)

    def evict_before(self, sequence: int) -> list[Stored]:
        """Pages before `sequence` are about to be overwritten; returns the waiting batches that are lost by it.

        Taken ones are still on their way: whether they are lost shows when they are acknowledged or given back.
        """
        lost = []
        while self._backlog and self._backlog[0].places[0].sequence < sequence:
            lost.append(self._backlog.popleft())
        for key, stored in self._taken.items():
            if stored and stored.places and stored.places[0].sequence < sequence:
                self._taken[key] = stored._replace(places=())
        return lost

    def overwritten(self) -> list[Stored]:
        """Taken batches whose pages are gone: lost, unless they are acknowledged."""
        return [stored for stored in self._taken.values() if stored and not stored.places]

    def _forget_live(self, key: BatchKey) -> Message:
        message = self._live.pop(key).message
        self.memory_bytes -= _cost(message)
        return message


def _cost(message: Message) -> int:
    return len(message.payload) + MESSAGE_OVERHEAD

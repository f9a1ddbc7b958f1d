"""What becomes of batches in; what the journal must still hold, and the state it has to tell, out. No I/O."""

import logging
from typing import NamedTuple

from agent.model import BatchKey, Gap, Message
from agent.store.pages import Kind, Place, Record
from agent.store.queue import Queue
from agent.store.recovery import Stored
from agent.store.state import Acknowledged, GapLedger, Range, State, encode_state, merge_gaps
from agent.store.survivors import Survivors

log = logging.getLogger(__name__)


class Guard(NamedTuple):
    """Fragments in the journal that stand in for a batch that is not."""

    places: tuple[Place, ...]
    samples: int
    until_ns: int  # samples older than this are in them


class Needed(NamedTuple):
    """The first batch that is still needed."""

    place: Place  # where it begins
    key: BatchKey
    covered: int  # samples of it that earlier fragments have too


class Account:
    """All that a store knows beside the bytes of its batches."""

    def __init__(self, epoch: bytes) -> None:
        self.epoch = epoch
        self.next_seq = 0
        self.queue = Queue()
        self.gaps = GapLedger()
        self.recovered_gaps: list[Gap] = []  # of earlier runs
        self.guards: dict[int, Guard] = {}  # by seq of this epoch
        self.untold = False  # something has changed that the state in the journal does not tell yet
        self.evicted = self.damaged_pages = 0
        self._moving: dict[BatchKey, Guard] = {}  # guards between detach() and relocated()
        self._acknowledged = Acknowledged()  # batches in the journal that are not needed
        self._reported: list[tuple[int, int]] = []  # damaged pages whose gap is counted

    # ---- what becomes of batches -------------------------------------------------------------------------------

    def check(self, message: Message) -> int:
        """The seq of a batch of this run, or of a fragment of it. ValueError: it is of the past."""
        epoch, seq = message.key
        if epoch != self.epoch or seq < self.next_seq:
            raise ValueError(f"batch {epoch.hex()}/{seq} cannot follow {self.epoch.hex()}/{self.next_seq - 1}")
        return seq

    def acknowledge(self, key: BatchKey, page: int) -> None:
        """The broker has it; none of its fragments is on `page` or later."""
        if self._release(key, page) is not None:
            self.untold = self.gaps.arrived(key) or self.untold

    def reject(self, key: BatchKey, page: int, reason: str) -> None:
        """The broker refuses it for good."""
        samples = self._release(key, page)
        if samples is not None:
            log.error("batch %d is given up, the broker refuses it: %s", key.seq, reason)
            self._lost(key, Gap(*key, key.seq, samples, "rejected"))

    def give_back(self) -> None:
        """The link is down: what was taken waits again."""
        for lost in self.queue.give_back():
            self.lose(lost.key, lost.samples)

    def evict_before(self, sequence: int) -> None:
        """Pages before `sequence` are about to be overwritten."""
        for stored in self.queue.evict_before(sequence):
            self.lose(stored.key, stored.samples)
        self.guards = {seq: guard for seq, guard in self.guards.items() if guard.places[0].sequence >= sequence}

    def lose(self, key: BatchKey, samples: int) -> None:
        """There was no room for it."""
        self.evicted += 1
        self._lost(key, _evicted(key, samples))

    def give_up(self, stored: Stored) -> None:
        """It cannot be read any more."""
        self._acknowledged.add(Range.of(stored.key), stored.places[-1].sequence)
        self._lost(stored.key, Gap(*stored.key, stored.key.seq, stored.samples, "damaged"))

    def damaged(self, place: Place) -> None:
        """What begins there cannot be read."""
        self.damaged_pages += 1
        self._reported.append((place.sequence, place.sequence))

    def take_over(self, found: Survivors) -> None:
        """Go on where the last run, or this one before its medium failed, came to an end."""
        self._acknowledged = found.acknowledged
        self._reported = found.reported
        self.damaged_pages += found.damaged_pages
        told = set(self.recovered_gaps)  # by an attempt that failed later
        for gap in [gap for gap in found.gaps if gap not in told]:
            self.recovered_gaps.append(gap)
            self.gaps.add(gap)

    def detach(self) -> list[Stored]:
        """All that the journal holds, oldest first, which is about to be copied elsewhere: relocated() says where to.

        Batches on their way count as not taken any more: at worst they are sent twice.
        """
        self._moving = {BatchKey(self.epoch, seq): guard for seq, guard in self.guards.items()}
        self.guards = {}
        self._acknowledged.clear()
        self._reported.clear()
        fragments = [Stored(key, guard.places, guard.samples, merged=True) for key, guard in self._moving.items()]
        return sorted([*self.queue.detach(), *fragments], key=lambda one: one.places)

    def relocated(self, stored: Stored) -> None:
        """A copy is in the journal that is in use now."""
        guard = self._moving.get(stored.key) if stored.merged else None
        if guard:
            self.guards[stored.key.seq] = guard._replace(places=stored.places)
        else:
            self.queue.relocated(stored)

    def attach(self, pending: list[Stored]) -> None:
        """The copy failed: all is where it was before detach()."""
        self.guards = {key.seq: guard for key, guard in self._moving.items()}
        self.queue.forget_stored()
        self.queue.recovered(one for one in pending if not (one.merged and one.key in self._moving))

    def _release(self, key: BatchKey, page: int) -> int | None:
        """Forget a taken batch, here and on the journal; its samples, None when it was not taken."""
        released = self.queue.release(key)
        if released is None:
            return None
        samples, stored = released
        guard = self.guards.pop(key.seq, None) if key.epoch == self.epoch else None
        if guard:
            self._acknowledged.add(Range.of(key), page)
        if stored and stored.places:
            self._acknowledged.add(Range.of(key), stored.places[-1].sequence)
        self.untold = self.untold or bool(stored or guard)
        return samples

    def _lost(self, key: BatchKey, gap: Gap) -> None:
        self.gaps.add(gap)
        self.gaps.lost(key)
        self.untold = True

    # ---- what the journal must hold and tell -------------------------------------------------------------------

    def needed(self, end: Place) -> Needed:
        """The first batch in the journal that is still needed; `end` is where the next one will begin."""
        places = [Needed(guard.places[0], BatchKey(self.epoch, seq), 0) for seq, guard in self.guards.items()]
        oldest = self.queue.oldest_stored()
        if oldest:
            places.append(Needed(oldest.places[0], oldest.key, oldest.covered))
        if not places:
            self._acknowledged.clear()
            self._reported.clear()
            return Needed(end, BatchKey(self.epoch, self.next_seq), 0)
        needed = min(places)
        self._acknowledged.forget_before(needed.place.sequence, needed.key)
        return needed

    def state(self, needed: Needed, *, clean: bool) -> Record:
        """What goes with every commit; `clean`: this run has ended and has nothing more to tell."""
        gaps = list(self.gaps.all())
        for stored in self.queue.overwritten():  # should the agent die before it knows what became of them
            merge_gaps(gaps, _evicted(stored.key, stored.samples))
        ranges, reported = self._acknowledged.ranges(), tuple(self._reported)
        state = State(clean, self.next_seq, *needed, ranges, tuple(gaps), reported)
        return Record(Kind.STATE, 0, 0, 0, encode_state(state))


def _evicted(key: BatchKey, samples: int) -> Gap:
    return Gap(*key, key.seq, samples, "evicted")

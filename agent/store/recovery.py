"""The good pages of a journal in, in the order of writing; batches that are intact and an account of what is lost out.

How a loss is counted exactly though the page is gone: every page says how many samples were in the records that begin
before it (`samples_before`), so the pages on both sides of a hole know what was in it. A batch whose fragments are in
the journal already counts only its `fresh` samples, so nothing is counted twice.
"""

from typing import NamedTuple

from agent.model import BatchKey, Gap
from agent.store.pages import FIRST, LAST, Head, Kind, Piece, Place
from agent.store.state import State

WHOLE = FIRST | LAST
CONTENT = (Kind.BATCH, Kind.FRAGMENT)


class Stored(NamedTuple):
    """A batch on the journal: whole, or as the fragments that were written before the agent stopped."""

    key: BatchKey
    places: tuple[Place, ...]  # one, or one for each fragment
    samples: int
    covered: int = 0  # of these, in fragments that were written before it
    merged: bool = False  # of fragments


class Hole:
    """Pages that are lost, and what was on them."""

    def __init__(self, epoch: bytes, first_seq: int, samples: int | None, pages: tuple[int, int]) -> None:
        self.epoch = epoch
        self.first_seq = first_seq
        self.last_seq = first_seq
        self.samples = samples  # None: nobody knows
        self.pages = pages

    def gap(self) -> Gap:
        """As it is announced."""
        return Gap(self.epoch, self.first_seq, self.last_seq, self.samples or 0, "damaged")


class _Begun(NamedTuple):
    """A record whose last piece has not come yet."""

    first: Piece
    place: Place
    done: int


class Recovery:
    """Feed it every page, then `finish()`."""

    def __init__(self, epoch: bytes, state: State | None) -> None:
        """Starts at the first place the newest state, of `epoch`, calls needed; without one nobody knows what was."""
        self._state_epoch = epoch
        self._state = state or State()
        self.batches: dict[BatchKey, Stored] = {}
        self.fragments: dict[BatchKey, list[tuple[Place, int]]] = {}  # with samples
        self.holes: list[Hole] = []
        self.damaged_pages = 0
        self.epoch = state.needed_key.epoch if state else b""  # the newest
        self.next_seq = state.needed_key.seq if state else 0  # of that epoch, as far as known
        self.samples = state.needed.samples_before if state else None  # fresh ones before what comes next
        self._start = state.needed if state else Place(0, 0, 0)
        self._sequence = self._start.sequence - 1
        self._covered = self._state.covered
        self._begun: _Begun | None = None
        self._open_hole: Hole | None = None

    def page(self, head: Head, pieces: list[Piece]) -> None:
        """One good page; sequences rise."""
        if self._sequence < 0:
            self._sequence = head.sequence - 1
        if head.sequence > self._sequence + 1:
            self._hole(head)
        if head.epoch != self.epoch:
            self._settle(None)
            self.epoch, self.next_seq = head.epoch, 0
        self._sequence, self.samples = head.sequence, head.samples_before
        for piece in pieces:
            self._piece(piece)

    def finish(self) -> list[Stored]:
        """All that is intact, oldest first; `holes` is final."""
        if self._open_hole and self._open_hole.epoch == self._state_epoch:
            self._open_hole.last_seq = max(self._open_hole.first_seq, self._state.next_seq - 1)
        self._settle(None)
        if self._begun:  # the commit that was cut short
            first = self._begun.first
            lost = first.fresh + self._uncovered()
            self.holes.append(Hole(self.epoch, first.seq, lost, (self._sequence + 1, self._sequence + 1)))
        for key, stored in self.batches.items():
            found = sum(samples for _, samples in self.fragments.pop(key, ()))
            self._forgive(key, stored.covered - found)
        merged = [
            Stored(key, tuple(place for place, _ in parts), sum(samples for _, samples in parts), merged=True)
            for key, parts in self.fragments.items()
        ]
        self.holes = [hole for hole in self.holes if hole.samples != 0]
        return sorted([*self.batches.values(), *merged], key=lambda one: one.places)

    def _hole(self, head: Head) -> None:
        """Pages are missing before this one."""
        first, last = self._sequence + 1, head.sequence - 1
        self.damaged_pages += last - first + 1
        lost = None if self.samples is None else head.samples_before - self.samples
        seq = self.next_seq
        if self._begun:
            lost = (lost or 0) + self._begun.first.fresh
            seq = self._begun.first.seq
            self._begun = None
        self._settle(None)
        if lost is not None:
            lost += self._uncovered()
        if lost is None or lost > 0:
            self._open_hole = Hole(self.epoch or head.epoch, seq, lost, (first, last))

    def _piece(self, piece: Piece) -> None:
        place = Place(piece.sequence, piece.at, self.samples or 0)
        if piece.flags & FIRST:
            self.samples = place.samples_before + piece.fresh
            self._begun = None
        if piece.kind not in CONTENT or place < self._start:
            return
        self._settle(piece)
        # After a fragment its own seq may come again, and a batch of that seq may be what is lost.
        self.next_seq = max(self.next_seq, piece.seq + (piece.kind == Kind.BATCH))
        if piece.flags == WHOLE:
            self._record(piece, place)
        else:
            self._join(_Begun(piece, place, 0) if piece.flags & FIRST else self._begun, piece)

    def _join(self, begun: _Begun | None, piece: Piece) -> None:
        """A record on several pages goes on, if it began."""
        if begun is None or piece.offset != begun.done:
            return
        self._begun = begun._replace(done=begun.done + piece.length)
        if piece.flags & LAST:
            self._begun = None
            self._record(begun.first, begun.place)

    def _record(self, first: Piece, place: Place) -> None:
        """A record is complete."""
        key = BatchKey(self.epoch, first.seq)
        if first.kind == Kind.BATCH:
            self.batches[key] = Stored(key, (place,), first.samples, first.samples - first.fresh)
        elif first.kind == Kind.FRAGMENT:
            self.fragments.setdefault(key, []).append((place, first.samples))

    def _uncovered(self) -> int:
        """If the first batch needed is lost, so are the samples it did not count because fragments had them."""
        covered, self._covered = self._covered, 0
        return 0 if self._state.needed_key in self.batches else covered

    def _settle(self, after: Piece | None) -> None:
        """What comes after a hole tells how far it reached."""
        hole, self._open_hole = self._open_hole, None
        if hole is None:
            return
        if after is not None:
            began_after = after.kind == Kind.BATCH and after.flags & FIRST
            hole.last_seq = max(hole.first_seq, after.seq - 1 if began_after else after.seq)
        self.holes.append(hole)

    def _forgive(self, key: BatchKey, samples: int) -> None:
        """These fragments of a batch that is intact are lost, and missed by nobody."""
        for hole in self.holes:
            if hole.epoch == key.epoch and hole.first_seq <= key.seq <= hole.last_seq:
                forgiven = min(hole.samples or 0, max(0, samples))
                hole.samples = hole.samples and hole.samples - forgiven
                samples -= forgiven

"""The good pages of a journal in, in the order of writing; batches that are intact and an account of what is lost out.

How a loss is counted exactly though the page is gone: every page says how many samples were in the records that begin
before it (`samples_before`), so the pages on both sides of a hole know what was in it. A batch whose fragments are in
the journal already counts only its `fresh` samples, so nothing is counted twice.
"""

from typing import NamedTuple

from agent.model import BatchKey, Gap
from agent.store.journal import FIRST, LAST, Head, Kind, Piece, Place


class Stored(NamedTuple):
    """A batch on the journal: whole, or as the fragments that were written before the agent stopped."""

    key: BatchKey
    places: tuple[Place, ...]  # one, or one for each fragment
    samples: int
    fragments: bool = False


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
    done: int


class Recovery:
    """Feed it every page, then `finish()`."""

    def __init__(self, tail: int) -> None:
        self.batches: dict[BatchKey, tuple[Stored, int]] = {}  # with fresh
        self.fragments: dict[BatchKey, list[tuple[Place, int]]] = {}  # with samples
        self.holes: list[Hole] = []
        self.states: list[tuple[bytes, Place]] = []  # epoch and place of every state record, oldest first
        self.damaged_pages = 0
        self.epoch = b""  # the newest
        self.next_seq = 0  # of that epoch, as far as known
        self.samples = 0  # fresh samples before the page that comes next
        self._tail = tail
        self._sequence = tail - 1
        self._baseline = tail == 1  # whether `samples` is known
        self._begun: _Begun | None = None
        self._open_hole: Hole | None = None

    def page(self, head: Head, pieces: list[Piece]) -> None:
        """One good page; sequences rise."""
        if head.sequence > self._sequence + 1:
            self._hole(head)
        if head.epoch != self.epoch:
            self._settle(None)
            self.epoch, self.next_seq = head.epoch, 0
        self._sequence, self.samples, self._baseline = head.sequence, head.samples_before, True
        for piece in pieces:
            self._piece(piece)

    def finish(self) -> list[Stored]:
        """All that is intact, oldest first; `holes` is final."""
        self._settle(None)
        if self._begun:  # the commit that was cut short
            first = self._begun.first
            self.holes.append(Hole(self.epoch, first.seq, first.fresh, (self._sequence + 1, self._sequence + 1)))
        for key, (stored, fresh) in self.batches.items():
            found = sum(samples for _, samples in self.fragments.pop(key, ()))
            self._forgive(key, stored.samples - fresh - found)
        merged = [
            Stored(key, tuple(place for place, _ in parts), sum(samples for _, samples in parts), fragments=True)
            for key, parts in self.fragments.items()
        ]
        self.holes = [hole for hole in self.holes if hole.samples != 0]
        return sorted([*(stored for stored, _ in self.batches.values()), *merged], key=lambda one: one.places)

    def _hole(self, head: Head) -> None:
        """Pages are missing before this one."""
        first, last = self._sequence + 1, head.sequence - 1
        self.damaged_pages += last - first + 1
        lost = head.samples_before - self.samples if self._baseline else None
        seq = self.next_seq
        if self._begun:
            lost = (lost or 0) + self._begun.first.fresh
            seq = self._begun.first.seq
            self._begun = None
        self._settle(None)
        if lost is None or lost > 0:
            self._open_hole = Hole(self.epoch or head.epoch, seq, lost, (first, last))

    def _piece(self, piece: Piece) -> None:
        if self._sequence < self._tail and piece.kind != Kind.STATE:
            self._count(piece)  # nobody needs it any more, but it says how many samples came before
            return
        if piece.kind in (Kind.BATCH, Kind.FRAGMENT):
            self._settle(piece)
        self._count(piece)
        begun = _Begun(piece, 0) if piece.flags & FIRST else self._begun
        if begun is None or piece.offset != begun.done:
            return
        self._begun = _Begun(begun.first, begun.done + piece.length)
        if piece.flags & LAST:
            self._begun = None
            self._record(begun.first)

    def _count(self, piece: Piece) -> None:
        if piece.flags & FIRST:
            self.samples += piece.fresh
        if piece.kind in (Kind.BATCH, Kind.FRAGMENT):
            # After a fragment its own seq may come again, and a batch of that seq may be what is lost.
            self.next_seq = max(self.next_seq, piece.seq + (piece.kind == Kind.BATCH))

    def _record(self, first: Piece) -> None:
        """A record is complete."""
        place = Place(first.sequence, first.at)
        key = BatchKey(self.epoch, first.seq)
        if first.kind == Kind.BATCH:
            self.batches[key] = Stored(key, (place,), first.samples), first.fresh
        elif first.kind == Kind.FRAGMENT:
            self.fragments.setdefault(key, []).append((place, first.samples))
        elif first.kind == Kind.STATE:
            self.states.append((self.epoch, place))

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

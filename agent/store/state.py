"""What the store must remember beside its batches, as one record: acknowledged ranges, gaps not yet announced."""

import struct
from itertools import pairwise
from typing import NamedTuple

from agent.errors import FormatError
from agent.model import BatchKey, Gap
from agent.store.pages import Place

# Why samples were lost; the index is the number on the medium.
REASONS = ("restart", "evicted", "damaged", "overrun", "rejected")

# A state record goes with every commit: these keep it under 2 KiB.
MAX_GAPS = 24  # what exceeds it is merged with its nearest neighbour: the count stays exact, the range widens
MAX_RANGES = 32  # acknowledged ranges; what is left out is only sent once more
MAX_REPORTED = 16  # damaged places; what is left out is told once more

HEADER = struct.Struct("<BBHHHQ")  # flags, 0, ranges, gaps, reported, next_seq
NEEDED = struct.Struct("<QIQ8sQI")  # page, at, samples before it; epoch, seq; covered
RANGE = struct.Struct("<8sQQ")  # epoch, first, last
GAP = struct.Struct("<8sQqQB7x")  # epoch, first, last, samples, reason
PAGES = struct.Struct("<QQ")  # first, last
CLEAN = 1
FAR = 1 << 64


class Range(NamedTuple):
    """Batches of one epoch, both ends included."""

    epoch: bytes
    first: int
    last: int

    @classmethod
    def of(cls, key: BatchKey) -> "Range":
        """Of one batch."""
        return cls(*key, key.seq)


class State(NamedTuple):
    """The newest one found tells how the last run ended."""

    clean: bool = False  # the run has ended and has nothing more to tell
    next_seq: int = 0  # of the epoch that wrote it
    needed: Place = Place(1, 0, 0)  # no batch that begins before this place is needed any more
    needed_key: BatchKey = BatchKey(bytes(8), 0)  # the batch that begins there
    covered: int = 0  # samples of it that fragments before that place have too
    acknowledged: tuple[Range, ...] = ()  # batches in the journal that must not be sent again
    gaps: tuple[Gap, ...] = ()  # not yet known to have reached the receiver
    reported: tuple[tuple[int, int], ...] = ()  # damaged pages whose gap was counted already


def encode_state(state: State) -> bytes:
    """The record's payload."""
    ranges, gaps, reported = state.acknowledged, state.gaps, state.reported[-MAX_REPORTED:]
    head = HEADER.pack(CLEAN * state.clean, 0, len(ranges), len(gaps), len(reported), state.next_seq)
    return b"".join(
        (
            head,
            NEEDED.pack(*state.needed, *state.needed_key, state.covered),
            *(RANGE.pack(*span) for span in ranges),
            *(GAP.pack(g.epoch, g.first_seq, g.last_seq, g.samples, REASONS.index(g.reason)) for g in gaps),
            *(PAGES.pack(*span) for span in reported),
        )
    )


def decode_state(payload: bytes) -> State:
    """Back again. FormatError: the counts do not fit the length."""
    try:
        flags, _, ranges, gaps, reported, next_seq = HEADER.unpack_from(payload)
        *place, epoch, seq, covered = NEEDED.unpack_from(payload, HEADER.size)
        at_ranges = HEADER.size + NEEDED.size
        at_gaps = at_ranges + ranges * RANGE.size
        at_reported = at_gaps + gaps * GAP.size
        if len(payload) != at_reported + reported * PAGES.size:
            raise FormatError(f"a state record of {len(payload)} bytes cannot hold what it announces")
        return State(
            bool(flags & CLEAN),
            next_seq,
            Place(*place),
            BatchKey(epoch, seq),
            covered,
            tuple(Range._make(span) for span in RANGE.iter_unpack(payload[at_ranges:at_gaps])),
            tuple(_gap(*fields) for fields in GAP.iter_unpack(payload[at_gaps:at_reported])),
            tuple((first, last) for first, last in PAGES.iter_unpack(payload[at_reported:])),
        )
    except (struct.error, IndexError) as error:
        raise FormatError(f"not a state record: {error}") from error


def _gap(epoch: bytes, first: int, last: int, samples: int, reason: int) -> Gap:
    return Gap(epoch, first, last, samples, REASONS[reason])


class Acknowledged:
    """Batches that are on the journal and not needed, as ranges of seq per epoch."""

    def __init__(self) -> None:
        self._ranges: dict[bytes, list[Range]] = {}
        self._last_page: dict[bytes, int] = {}  # no batch of this epoch's ranges begins on a later page

    def add(self, span: Range, page: int) -> None:
        """Add a range that begins on `page` or earlier, joining those it touches. Most calls extend the last one."""
        ranges = self._ranges.setdefault(span.epoch, [])
        self._last_page[span.epoch] = max(page, self._last_page.get(span.epoch, 0))
        joined = [r for r in ranges if r.first <= span.last + 1 and span.first <= r.last + 1]
        first, last = min(r.first for r in [span, *joined]), max(r.last for r in [span, *joined])
        self._ranges[span.epoch] = sorted([*(r for r in ranges if r not in joined), Range(span.epoch, first, last)])

    def holds(self, span: Range) -> bool:
        """Whether every seq of the range is in the set."""
        return any(r.first <= span.first and span.last <= r.last for r in self._ranges.get(span.epoch, ()))

    def forget_before(self, page: int, key: BatchKey) -> None:
        """Forget what nobody asks for any more: `key`, which begins on `page`, is the first batch that is needed."""
        for epoch in [epoch for epoch, last in self._last_page.items() if last < page]:
            del self._ranges[epoch], self._last_page[epoch]
        ranges = self._ranges.get(key.epoch)
        if ranges:
            self._ranges[key.epoch] = [r._replace(first=max(r.first, key.seq)) for r in ranges if r.last >= key.seq]

    def clear(self) -> None:
        """Forget all."""
        self._ranges.clear()
        self._last_page.clear()

    def ranges(self) -> tuple[Range, ...]:
        """For the state record; where there are too many the oldest batches come once more."""
        return tuple(span for spans in self._ranges.values() for span in spans)[-MAX_RANGES:]


def merge_gaps(gaps: list[Gap], gap: Gap) -> None:
    """Add a gap unless it is known; an eviction that touches another widens it; at most MAX_GAPS stay."""
    if gap in gaps:
        return
    near = [known for known in gaps if _distance(known, gap) <= 1 and gap.reason == "evicted"]
    for known in near:
        gaps.remove(known)
        gap = _join(known, gap)
    gaps.append(gap)
    if len(gaps) > MAX_GAPS:
        pairs = ((_distance(a, b), i) for i, (a, b) in enumerate(pairwise(gaps)))
        distance, at = min(pairs)
        if distance == FAR:  # as many different stories: forget the one that counts least
            gaps.remove(min(gaps, key=lambda one: one.samples))
        else:
            gaps[at : at + 2] = [_join(gaps[at], gaps[at + 1])]


def _distance(a: Gap, b: Gap) -> int:
    """How many seqs apart; FAR when they cannot be joined."""
    if (a.epoch, a.reason) != (b.epoch, b.reason):
        return FAR
    return max(b.first_seq - a.last_seq, a.first_seq - b.last_seq, 0)


def _join(a: Gap, b: Gap) -> Gap:
    first, last = min(a.first_seq, b.first_seq), max(a.last_seq, b.last_seq)
    return Gap(a.epoch, first, last, a.samples + b.samples, a.reason)


class GapLedger:
    """Gaps on their way to the receiver: waiting, or carried by one batch until that batch is acknowledged.

    One batch at a time carries gaps: in a long outage every batch would otherwise carry the loss of the one before,
    and all of them would have to be remembered.
    """

    def __init__(self) -> None:
        self.counted = 0  # gaps of this run, merged ones once each
        self._waiting: list[Gap] = []
        self._handed: list[Gap] = []
        self._carrier: BatchKey | None = None

    def add(self, gap: Gap) -> None:
        """A loss became known."""
        self.counted += 1
        merge_gaps(self._waiting, gap)

    def hand_out(self) -> list[Gap]:
        """What the next batch is to carry; nothing while another one is on its way."""
        if not self._handed:
            self._handed, self._waiting = self._waiting, []
            return list(self._handed)
        return []

    def carried_by(self, key: BatchKey) -> None:
        """The next batch after hand_out()."""
        if self._handed and self._carrier is None:
            self._carrier = key

    def arrived(self, key: BatchKey) -> bool:
        """The receiver has this batch; True when it carried gaps."""
        carried = key == self._carrier
        if carried:
            self._handed, self._carrier = [], None
        return carried

    def lost(self, key: BatchKey) -> None:
        """A batch that will never be sent: what it carried waits again."""
        if key == self._carrier:
            for gap in self._handed:
                merge_gaps(self._waiting, gap)
            self._handed, self._carrier = [], None

    def all(self) -> tuple[Gap, ...]:
        """For the state record."""
        return (*self._handed, *self._waiting)

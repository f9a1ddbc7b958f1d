"""What became of a device's reads in, the reads that find out what it can do, and then respect it, out; pure.

A device that refuses a read (exception 2: no such register, 3: not so many) refuses it for good: a register is
missing, two areas cannot be read at once, or it is too much. The read is halved until the least part that is refused
is known, the other parts being read meanwhile. What that tells is kept to from then on:

    one tag             the device does not have it: it is asked for alone, and seldom
    two neighbours      what lies between them cannot be read through
    three and more      it was too much: reads are no longer than the longest part that was answered

A device that starts up may refuse everything for a while. So before anything is learned for good, the part that was
found is asked for once more: a device that answers it now has only had a bad time. A missing tag needs no such care.

Silence tells the last of a long read, while others are answered. Any other failure passes, and tells nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from agent.acquire.limits import BIT_TABLES, Learned, Seam
from agent.acquire.merge import Block, Wanted, block_of, in_order
from agent.acquire.narrowing import Narrowing, Part
from agent.acquire.outcomes import Outcome
from agent.acquire.wire import data_bytes
from agent.config.model import Hole
from agent.model import Quality

REFUSALS = (2, 3)  # Modbus Application Protocol V1.1b3, 7: illegal data address, illegal data value
REFUSED_TIMES = 2  # in a row: a device that starts up may refuse once what it has
SILENT_TIMES = 3  # in a row, others being answered in between: noise is not meant
SHORT_BYTES = 32  # an answer with no more data than that is too long for no device


class Unit(NamedTuple):
    """Tags whose registers overlap: they are read together or not at all."""

    start: int
    end: int
    wanted: tuple[Wanted, ...]


def units_of(wanted: Iterable[Wanted]) -> list[Unit]:
    """The units of a read, in the order of their registers."""
    units: list[Unit] = []
    for item in in_order(wanted):
        if units and item.start < units[-1].end:
            last = units.pop()
            units.append(Unit(last.start, max(last.end, item.end), (*last.wanted, item)))
        else:
            units.append(Unit(item.start, item.end, (item,)))
    return units


def tags_of(block: Block) -> frozenset[int]:
    """The numbers of the tags that a read fetches; no other read of the device has the same."""
    return frozenset(item.number for item in block.wanted)


class _Search:
    """A read that fails, being halved."""

    def __init__(self, block: Block, *, is_silent: bool) -> None:
        self.block = block
        self.is_silent = is_silent  # it is not answered, instead of refused
        self.units = units_of(block.wanted)
        self.narrowing = Narrowing(len(self.units))
        self.answered = 0  # most registers or bits of it that were read at once

    @property
    def tells_at_once(self) -> bool:
        """Whether what was found needs no second look: a missing tag is asked for again and again anyway."""
        return not self.is_silent and len(self._asked) == 1

    @property
    def _asked(self) -> Part:
        return self.narrowing.found or self.narrowing.asked

    def asked(self) -> Block:
        """The part whose fate is to be told."""
        return self._block(*self._asked)

    def parts(self) -> list[Block]:
        """The reads that take its place: the part that is asked for, and what is before and behind it."""
        first, end = self._asked
        cuts = ((0, first), (first, end), (end, len(self.units)))
        return [self._block(*cut)._replace(is_apart=True) for cut in cuts if cut[0] < cut[1]]

    def tell(self, *, answered: bool) -> None:
        """What became of the part that was asked for."""
        if answered:
            self.answered = max(self.answered, self.asked().quantity)
        self.narrowing.tell(fails=not answered)

    def _block(self, first: int, end: int) -> Block:
        return block_of(self.block.period_ns, (item for unit in self.units[first:end] for item in unit.wanted))


class Learner:
    """What one device can do, as its answers tell. `reads` are to be run, `learned` is to be remembered."""

    def __init__(self, reads: Sequence[Block], learned: Learned, replan: Callable[[Learned], Sequence[Block]]) -> None:
        self.reads = tuple(reads)
        self.wanted = frozenset(item for block in reads for item in block.wanted)
        self.learned = learned
        self._replan = replan
        self._search: _Search | None = None
        self._failed: dict[frozenset[int], int] = {}  # how often in a row
        self._is_alive = False  # something was answered since the last silence
        self._given_up: set[frozenset[int]] = set()  # failing reads that taught nothing

    def watched(self) -> set[int]:
        """Tags of which a success matters too: of all reads while something is open, else the missing ones."""
        is_open = self._search or self._failed
        return {item.number for block in self.reads if is_open or self._is_missing(block) for item in block.wanted}

    def observe(self, outcome: Outcome) -> bool:
        """Learn from one read; True when `reads` are others now."""
        block = next((block for block in self.reads if tags_of(block) == outcome.tags), None)
        if block is None or outcome.tags in self._given_up:
            return False
        if outcome.quality is not Quality.COMM_FAIL:
            self._is_alive = True
        if outcome.is_answered:
            self._failed.pop(outcome.tags, None)
        if self._search:
            return self._go_on(self._search, outcome)
        if self._is_missing(block):
            return outcome.is_answered and self._found_again(block)
        return self._fails_for_good(block, outcome) and self._look_into(block, outcome)

    def _fails_for_good(self, block: Block, outcome: Outcome) -> bool:
        """Whether a read has failed often enough, in a way that tells something."""
        if outcome.quality is Quality.EXCEPTION and outcome.code in REFUSALS:
            enough = REFUSED_TIMES
        elif outcome.quality is Quality.COMM_FAIL and (is_long(block) or (self._search and self._search.is_silent)):
            enough = SILENT_TIMES
            if outcome.tags in self._failed and not self._is_alive and len(self.reads) > 1:
                return False  # the device is silent as a whole
            self._is_alive = False
        else:
            return False
        self._failed[outcome.tags] = self._failed.get(outcome.tags, 0) + 1
        return self._failed[outcome.tags] >= enough

    def _look_into(self, block: Block, outcome: Outcome) -> bool:
        """Halve a read that fails, unless it has one unit: then that is the answer."""
        is_silent = outcome.quality is Quality.COMM_FAIL
        self._failed.clear()
        search = _Search(block, is_silent=is_silent)
        if is_silent and len(self.reads) == 1:
            return self._set_apart(search)
        self._search = search
        return self._step(search)

    def _set_apart(self, search: _Search) -> bool:
        """Read the first unit on its own: if that is answered, the device is alive and the rest was too long."""
        first, *others = search.units
        if not others:
            self._given_up.add(tags_of(search.block))
            return False
        rest = (item for unit in others for item in unit.wanted)
        self.reads = (block_of(search.block.period_ns, first.wanted), block_of(search.block.period_ns, rest))
        return True

    def _go_on(self, search: _Search, outcome: Outcome) -> bool:
        asked = search.asked()
        if outcome.tags != tags_of(asked):
            return False
        answered = outcome.is_answered
        if not answered and not self._fails_for_good(asked, outcome):
            return False
        self._failed.clear()
        if found := search.narrowing.found:
            return self._forget() if answered else self._conclude(search, found)
        search.tell(answered=answered)
        return self._step(search)

    def _step(self, search: _Search) -> bool:
        """Ask for the next part, or once more for the one that was found."""
        found = search.narrowing.found
        if found and search.tells_at_once:
            return self._conclude(search, found)
        kept = [block for block in self.reads if not tags_of(block) <= tags_of(search.block)]
        return self._run([*kept, *search.parts()])

    def _conclude(self, search: _Search, found: Part) -> bool:
        self._search = None
        learned = lesson(self.learned, search, found)
        if learned == self.learned:
            self._given_up.add(tags_of(search.block))
        self.learned = learned
        return self._run(self._replan(learned))

    def _forget(self) -> bool:
        """The device can do it after all: go on with what was known before."""
        self._search = None
        return self._run(self._replan(self.learned))

    def _found_again(self, block: Block) -> bool:
        """A tag that was missing is answered: an update has brought it."""
        there = frozenset(hole for hole in self.learned.missing if covers(hole, block))
        self.learned = self.learned._replace(missing=self.learned.missing - there)
        return self._run(self._replan(self.learned))

    def _is_missing(self, block: Block) -> bool:
        return any(covers(hole, block) for hole in self.learned.missing)

    def _run(self, reads: Sequence[Block]) -> bool:
        before, self.reads = self.reads, tuple(reads)
        return self.reads != before


def lesson(learned: Learned, search: _Search, found: Part) -> Learned:
    """What is known once the least part that fails is known."""
    units = search.units[found.first : found.end]
    block, quantity = search.block, units[-1].end - units[0].start
    is_news = search.answered < quantity  # else so much was read at once, only elsewhere
    if search.is_silent:
        return _at_most(learned, block, search.answered) if is_news and search.answered else learned
    if len(units) == 1:
        missing = Hole(block.table, units[0].start, units[0].end - 1)
        # Without it, all that stands before it was answered: it alone spoiled the read.
        return learned._replace(missing=learned.missing | {missing}, strict=learned.strict or found.end > 1)
    if len(units) > 2 and is_news:
        return _at_most(learned, block, search.answered)
    reach, start = units[-2].end, units[-1].start
    if reach < start:
        return learned._replace(holes=learned.holes | {Hole(block.table, reach, start - 1)})
    return learned._replace(seams=learned.seams | {Seam(block.table, start)})


def _at_most(learned: Learned, block: Block, quantity: int) -> Learned:
    if block.table in BIT_TABLES:
        return learned._replace(max_bits=min(learned.max_bits, quantity))
    return learned._replace(max_registers=min(learned.max_registers, quantity))


def is_long(block: Block) -> bool:
    """Whether its answer may be too long for a device."""
    return data_bytes(block.table, block.quantity) > SHORT_BYTES


def covers(hole: Hole, block: Block) -> bool:
    """Whether all of a read lies within the hole."""
    return hole.table is block.table and hole.first <= block.address and block.end <= hole.last + 1

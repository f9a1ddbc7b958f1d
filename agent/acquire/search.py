"""A read that a device refuses in, the questions that find out why, and what they tell, out; pure.

The questions are single reads beside the plan, so that a search takes as long as the line does, not as the periods of
the plan. They are steps as in agent/acquire/tickets.py: what is neither an answer nor exception 2 or 3 is thrown
through, and ends the search without a result.
"""

from collections.abc import Generator, Sequence

from agent.acquire import pdu
from agent.acquire.limits import BIT_TABLES, NOTHING, Learned, Seam
from agent.acquire.merge import Block, block_of
from agent.acquire.narrowing import Narrowing, Part
from agent.acquire.pdu import Ask
from agent.acquire.units import units_of
from agent.config.model import Hole
from agent.errors import BusError, DeviceError, NotSentError

REFUSALS = (2, 3)  # Modbus Application Protocol V1.1b3, 7: illegal data address, illegal data value
REFUSED_TIMES = 2  # in a row: one may have had another reason
NEIGHBOURS = 2  # between which lies what is refused; of more it is their number
SILENT_TIMES = 3  # in a row, others being answered in between: noise is not meant

Fate = Generator[Ask, bytes, bool]


def refuses(unit: int, block: Block, times: int = REFUSED_TIMES) -> Fate:
    """Whether the device refuses this read, so many times in a row."""
    for _ in range(times):
        try:
            yield _ask(unit, block)
        except DeviceError as error:
            if error.code not in REFUSALS:
                raise
        else:
            return False
    return True


class Search:
    """A read that fails, being halved."""

    def __init__(
        self, unit: int, block: Block, others: Sequence[Block], *, is_silent: bool, elsewhere: int = 0
    ) -> None:
        """`others`: of the same device, to see if it answers at all; `elsewhere`: most that it answered."""
        self.block = block
        self.is_silent = is_silent  # it is not answered, instead of refused
        self._unit = unit
        self._others = others
        self._units = units_of(block.wanted)
        self._narrowing = Narrowing(len(self._units))
        self._answered = 0  # most registers or bits of it that were read at once
        self._elsewhere = elsewhere
        self._silences = 0  # in a row, of the part that is asked for

    def go_on(self) -> Generator[Ask, bytes, Learned | None]:
        """Ask; returns what it is that the device cannot do, NOTHING when it can, or None: there is more to ask."""
        return (yield from self._unanswered() if self.is_silent else self._refused())

    def _refused(self) -> Generator[Ask, bytes, Learned]:
        """A device that refuses all there is has a bad time, or nothing that could be read in another way."""
        if not (yield from refuses(self._unit, self.block)):
            return NOTHING
        while self._narrowing.found is None:
            self._tell(fails=(yield from refuses(self._unit, self._asked())))
        if self._answered == 0 and not (yield from self._is_alive()):
            return NOTHING
        found = self._narrowing.found
        is_so = yield from refuses(self._unit, self._part(*found))
        return self._lesson(found) if is_so else NOTHING

    def _unanswered(self) -> Generator[Ask, bytes, Learned | None]:
        """One question at a time: each may cost a timeout."""
        try:
            yield _ask(self._unit, self._asked())
        except NotSentError:
            raise
        except BusError:
            yield _ask(self._unit, self._part(0, 1))  # thrown through when the device is silent as a whole
            self._silences += 1
            if self._silences == SILENT_TIMES:
                self._tell(fails=True)
        else:
            self._tell(fails=False)
        found = self._narrowing.found
        return self._most(self._part(*found).quantity) if found else None

    def _is_alive(self) -> Fate:
        """Nothing of it was answered so far: whether anything is, what was not asked for first."""
        parts = [self._part(at, at + 1) for at in reversed(range(1, len(self._units)))]
        for block in (*self._others, *parts):
            if not (yield from refuses(self._unit, block, times=1)):
                return True
        return False

    def _asked(self) -> Block:
        return self._part(*self._narrowing.asked)

    def _part(self, first: int, end: int) -> Block:
        return block_of(self.block.period_ns, (item for unit in self._units[first:end] for item in unit.wanted))

    def _tell(self, *, fails: bool) -> None:
        if not fails:
            self._answered = max(self._answered, self._asked().quantity)
        self._narrowing.tell(fails=fails)
        self._silences = 0

    def _lesson(self, found: Part) -> Learned:
        """What is known once the least part that is refused is known."""
        units, table = self._units[found.first : found.end], self.block.table
        if len(units) == 1:
            missing = Hole(table, units[0].start, units[0].end - 1)
            # Without it, all that stands before it was answered: it alone spoiled the read.
            return NOTHING._replace(missing=frozenset({missing}), strict=found.end > 1)
        most = self._most(units[-1].end - units[0].start)
        if len(units) > NEIGHBOURS and most != NOTHING:
            return most
        reach, start = units[-2].end, units[-1].start
        if reach < start:
            return NOTHING._replace(holes=frozenset({Hole(table, reach, start - 1)}))
        return NOTHING._replace(seams=frozenset({Seam(table, start)}))

    def _most(self, failing: int) -> Learned:
        """That so many at once were too much, unless as many were read elsewhere, or nothing was."""
        answered = max(self._answered, self._elsewhere)
        if not 0 < answered < failing:
            return NOTHING
        if self.block.table in BIT_TABLES:
            return NOTHING._replace(max_bits=answered)
        return NOTHING._replace(max_registers=answered)


def _ask(unit: int, block: Block) -> Ask:
    return Ask(unit, pdu.read(block.table, block.address, block.quantity))

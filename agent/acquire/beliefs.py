"""What a device refused in, what it is believed not to be able to do, and when to ask for it again, out; pure.

A refusal may have been a bad moment, and an update may bring what was missing. So what was found is a belief, which
any answer to the contrary ends, and such answers are asked for: soon and often while it is young, ever more rarely
while it stands.
"""

from collections.abc import Iterable
from functools import reduce
from itertools import count

from agent.acquire.limits import BIT_TABLES, NOTHING, Learned, either
from agent.acquire.merge import Block, block_of
from agent.acquire.units import units_of
from agent.config.model import Hole, Table
from agent.model import NS_PER_S

YOUNG_NS = (5 * NS_PER_S, 30 * NS_PER_S, 120 * NS_PER_S)  # until it is asked for the first, second and third time
OLD_NS = 600 * NS_PER_S  # then, and after a start; twice as long after each time that it still refuses, ...
OLDEST_NS = 86_400 * NS_PER_S  # ... but once a day: that costs nothing, and an update is seen within that


class Belief:
    """One thing that the device refuses, as the only fact of a Learned."""

    def __init__(self, fact: Learned, stood: int = 0) -> None:
        """`stood`: how often it was asked for again and refused."""
        self.fact = fact
        self.due_ns: int | None = None  # None: that is still to be set
        self._stood = stood

    def set_due(self, now_ns: int) -> None:
        """Look again when its age makes it worth it."""
        old = self._stood - len(YOUNG_NS)
        self.due_ns = now_ns + (YOUNG_NS[self._stood] if old < 0 else min(OLD_NS << old, OLDEST_NS))

    def stand(self, now_ns: int) -> None:
        """It was refused again."""
        self._stood += 1
        self.set_due(now_ns)


def recalled(learned: Learned) -> list[Belief]:
    """What was learned before, fact by fact; it is old."""
    facts = [NOTHING._replace(missing=frozenset({hole}), strict=learned.strict) for hole in learned.missing]
    facts += [NOTHING._replace(holes=frozenset({hole})) for hole in learned.holes]
    facts += [NOTHING._replace(seams=frozenset({seam})) for seam in learned.seams]
    facts += [NOTHING._replace(max_registers=learned.max_registers), NOTHING._replace(max_bits=learned.max_bits)]
    return [Belief(fact, stood=len(YOUNG_NS)) for fact in facts if fact != NOTHING]


def together(beliefs: Iterable[Belief]) -> Learned:
    """All of them as one."""
    return reduce(either, (belief.fact for belief in beliefs), NOTHING)


def defies(block: Block, fact: Learned) -> bool:
    """Whether a read does what the device is believed to refuse."""
    most = fact.max_bits if block.table in BIT_TABLES else fact.max_registers
    has_seam = any(seam.table is block.table and block.address < seam.address < block.end for seam in fact.seams)
    has_hole = any(_is_in(hole, block.table, block.address, block.end) for hole in fact.holes)
    return block.quantity > most or has_seam or has_hole or any(_wants(block, hole) for hole in fact.missing)


def beginning(block: Block, fact: Learned) -> Block:
    """The shortest beginning of a read that defies a fact which does so, too: it is refused for no other reason."""
    units = units_of(block.wanted)
    parts = (block_of(block.period_ns, (item for unit in units[:end] for item in unit.wanted)) for end in count(1))
    return next(part for part in parts if defies(part, fact))


def _wants(block: Block, hole: Hole) -> bool:
    """Only a tag tells: what lies between tags a device may fill."""
    return any(_is_in(hole, block.table, item.start, item.end) for item in block.wanted)


def _is_in(hole: Hole, table: Table, start: int, end: int) -> bool:
    return hole.table is table and start <= hole.last and hole.first < end

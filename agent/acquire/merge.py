"""The tags of one device in, the reads that fetch them with the least bus time out; pure.

Tags of one table are placed by period, the fastest first. Those of one period are cut into blocks by dynamic
programming over the tags in the order of their addresses: the cheapest way to read the first k of them is the cheapest
way to read the first i and then one block for the others. A block reads through registers nobody asked for where that
costs less than another request. A slower tag that lies inside a faster block rides in it for nothing; any other either
gets a block of its period or makes a faster one longer, whatever takes less time of the bus in the long run.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from functools import cache, partial
from math import inf
from typing import NamedTuple

from agent.acquire.limits import Limits, Seam
from agent.config.model import Hole, Table, Tag
from agent.config.registers import extent_of
from agent.model import NS_PER_S

RETEST_NS = 60 * NS_PER_S  # a tag that the device does not have is asked for once a minute: it may come with an update


class Wanted(NamedTuple):
    """A tag and its agent-wide number."""

    number: int
    tag: Tag
    device: str = ""  # whose it is, of those that share a unit

    @property
    def start(self) -> int:
        """The first register or bit that must be read for it."""
        return extent_of(self.tag)[0]

    @property
    def end(self) -> int:
        """One past the last."""
        return extent_of(self.tag)[1]


class Block(NamedTuple):
    """One read: what it fetches and how often."""

    table: Table
    period_ns: int
    address: int
    quantity: int
    wanted: tuple[Wanted, ...]
    is_apart: bool = False  # nothing else may ever be read with it
    has_seam: bool = False  # what is in front of it may not be read with it

    @property
    def end(self) -> int:
        """One past its last register or bit."""
        return self.address + self.quantity


class Room(NamedTuple):
    """What a read of one table may hold and what it costs."""

    table: Table
    limits: Limits
    cost_ns: Callable[[int], int]

    @property
    def most(self) -> int:
        """Registers or bits at once."""
        return self.limits.most(self.table)

    def joins(self, reach: int, start: int) -> bool:
        """Whether a read that holds everything up to `reach` may go on with what begins at `start`."""
        return self.limits.joins(self.table, reach, start)

    def holds(self, wanted: Iterable[Wanted]) -> bool:
        """Whether one read may fetch them all."""
        first, *others = in_order(wanted)
        reach = first.end
        for item in others:
            if not self.joins(reach, item.start):
                return False
            reach = max(reach, item.end)
        return reach - first.start <= self.most


def blocks_of(
    limits: Limits,
    wanted: Sequence[Wanted],
    cost_ns: Callable[[Table, int], int],
    riders: Container[int] | None = None,
) -> list[Block]:
    """All reads of one device, by table, period and address; `cost_ns` is the bus time of a read by its quantity.

    `riders` are the numbers of the tags that may be read more often than asked for; None: all.
    """
    blocks: list[Block] = []
    for table in Table:
        of_table = [item for item in wanted if item.tag.table is table]
        closed = limits._replace(holes=limits.holes.union(_hole(item) for item in of_table if not item.tag.merge))
        room = Room(table, closed, cache(partial(cost_ns, table)))
        blocks += _together(room, [item for item in of_table if not _is_apart(closed, item)], riders)
        blocks += [_alone(limits, item) for item in of_table if _is_apart(closed, item)]
    return [block._replace(has_seam=Seam(block.table, block.address) in limits.seams) for block in blocks]


def in_order(wanted: Iterable[Wanted]) -> list[Wanted]:
    """As they stand in an answer."""
    return sorted(wanted, key=lambda item: (item.start, item.end, item.tag.shift, item.number))


def block_of(period_ns: int, wanted: Iterable[Wanted]) -> Block:
    """The one read that fetches them all."""
    ordered = in_order(wanted)
    start = ordered[0].start
    return Block(ordered[0].tag.table, period_ns, start, max(item.end for item in ordered) - start, tuple(ordered))


def _is_apart(limits: Limits, item: Wanted) -> bool:
    """Whether nothing else may be read with it."""
    return _is_missing(limits, item) or limits.touches_hole(item.tag.table, item.start, item.end)


def _is_missing(limits: Limits, item: Wanted) -> bool:
    return any(
        hole.table is item.tag.table and hole.first <= item.start and item.end <= hole.last + 1
        for hole in limits.missing
    )


def _hole(item: Wanted) -> Hole:
    return Hole(item.tag.table, item.start, item.end - 1)


def _alone(limits: Limits, item: Wanted) -> Block:
    slowest_ns = RETEST_NS if _is_missing(limits, item) else 0
    return block_of(max(item.tag.every_ns, slowest_ns), [item])._replace(is_apart=True)


def _together(room: Room, items: list[Wanted], riders: Container[int] | None) -> list[Block]:
    """The reads of one table's tags, the fastest period first."""
    blocks: list[Block] = []
    for period_ns in sorted({item.tag.every_ns for item in items}):
        mine = [item for item in items if item.tag.every_ns == period_ns]
        may_ride = [item for item in mine if riders is None or item.number in riders]
        bound = [item for item in mine if not (riders is None or item.number in riders)]
        left = in_order(_taken_along(blocks, may_ride))
        faster, own = placed(room, period_ns, left, blocks)
        _, own_bound = placed(room, period_ns, in_order(bound), [])
        blocks = sorted(faster + own + own_bound, key=lambda block: block.address)
    return blocks


def _taken_along(faster: list[Block], items: list[Wanted]) -> list[Wanted]:
    """Give the items that lie inside a faster block to it, for free; returns the others."""
    left = []
    for item in items:
        host = next((index for index, block in enumerate(faster) if _lies_in(item, block)), None)
        if host is None:
            left.append(item)
        else:
            faster[host] = block_of(faster[host].period_ns, [*faster[host].wanted, item])
    return left


def _lies_in(item: Wanted, block: Block) -> bool:
    return block.address <= item.start and item.end <= block.end


# --- placing the tags of one period -----------------------------------------------------------------------------------


class _Way(NamedTuple):
    """The cheapest way found to read the first so many items, by its last step."""

    cost: float  # share of the bus's time that it takes
    first: int  # the last run begins there
    is_own: bool  # it is a read of its own, else it makes the faster block of this row longer


_NO_WAY = _Way(inf, 0, is_own=True)


def placed(room: Room, period_ns: int, ordered: list[Wanted], faster: list[Block]) -> tuple[list[Block], list[Block]]:
    """The faster blocks, some of them longer now, and the new blocks that together read the items in the least time."""
    table = _Table(room, period_ns, ordered)
    for block in faster:
        table.add_row(block)
    return table.cheapest(faster)


class _Table:
    """By how many blocks may be made longer and how many items are read: the cheapest way.

    Row b may make the first b faster blocks longer, each by one run of items; row 0 has only reads of their own.
    """

    def __init__(self, room: Room, period_ns: int, ordered: list[Wanted]) -> None:
        self._room = room
        self._period_ns = period_ns
        self._items = ordered
        self._starts = [item.start for item in ordered]
        self._ends = [item.end for item in ordered]
        self._furthest = self._runs()
        self._rows = [[_Way(0.0, 0, is_own=True)]]
        for end in range(1, len(ordered) + 1):
            self._rows[0].append(self._own(end, self._rows[0], _NO_WAY))

    def add_row(self, block: Block) -> None:
        """Let `block`, too, be made longer."""
        before = self._rows[-1]
        row = before[:1]
        for end in range(1, len(before)):
            row.append(self._longer(end, block, before, self._own(end, row, before[end])))
        self._rows.append(row)

    def cheapest(self, faster: list[Block]) -> tuple[list[Block], list[Block]]:
        """Walk back along the cheapest way: the faster blocks as they are now, and the new ones."""
        longer, own = list(faster), []
        index, end = len(faster), len(self._items)
        while end:
            way = self._rows[index][end]
            if index and way is self._rows[index - 1][end]:
                index -= 1
                continue
            run = self._items[way.first : end]
            if way.is_own:
                own.append(block_of(self._period_ns, run))
            else:
                index -= 1
                longer[index] = block_of(faster[index].period_ns, [*faster[index].wanted, *run])
            end = way.first
        return longer, own

    def _runs(self) -> list[int]:
        """By its first item: where the longest run ends that one read may fetch."""
        joins = cache(self._room.joins)
        furthest = []
        for first, start in enumerate(self._starts):
            end, reach = first + 1, self._ends[first]
            while end < len(self._items) and joins(reach, self._starts[end]):
                reach = max(reach, self._ends[end])
                if reach - start > self._room.most:
                    break
                end += 1
            furthest.append(end)
        return furthest

    def _own(self, end: int, row: list[_Way], known: _Way) -> _Way:
        """The cheapest way whose last run, up to item `end`, is a read of its own; `known` when none is cheaper."""
        best, reach = known, 0
        for first in range(end - 1, -1, -1):
            start, reach = self._starts[first], max(reach, self._ends[first])
            if self._furthest[first] < end:
                if reach - start > self._room.most:
                    break
                continue
            cost = row[first].cost + self._room.cost_ns(reach - start) / self._period_ns
            if cost < best.cost:
                best = _Way(cost, first, is_own=True)
        return best

    def _longer(self, end: int, block: Block, before: list[_Way], known: _Way) -> _Way:
        """The cheapest way whose last run, up to item `end`, makes `block` longer; `known` when none is cheaper."""
        best, start, reach = known, block.address, block.end
        for first in range(end - 1, -1, -1):
            start, reach = min(start, self._starts[first]), max(reach, self._ends[first])
            if reach - start > self._room.most:
                break
            more_ns = self._room.cost_ns(reach - start) - self._room.cost_ns(block.quantity)
            cost = before[first].cost + more_ns / block.period_ns
            if cost < best.cost and self._room.holds([*block.wanted, *self._items[first:end]]):
                best = _Way(cost, first, is_own=False)
        return best

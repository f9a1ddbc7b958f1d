"""The tags of one device in, the reads that fetch them with the least bus time out; pure.

Tags of one table and period are cut into blocks by dynamic programming over the tags in the order of their addresses:
the cheapest way to read the first k of them is the cheapest way to read the first i and then one block for the
others. A block reads through registers nobody asked for where that costs less than another request.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from math import inf
from typing import NamedTuple

from agent.config.model import MAX_BITS, Device, Table, Tag
from agent.config.registers import extent_of

BIT_TABLES = (Table.COIL, Table.DISCRETE)
MAX_OVERSAMPLE = 2  # `every` may be kept up to so much better than asked when that saves a request


class Wanted(NamedTuple):
    """A tag and its agent-wide number."""

    number: int
    tag: Tag

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


def blocks_of(device: Device, wanted: Sequence[Wanted], cost_ns: Callable[[Table, int], int]) -> list[Block]:
    """All reads of one device, by table, period and address; `cost_ns` is the bus time of a read by its quantity."""
    blocks: list[Block] = []
    for table in Table:
        of_table: list[Block] = []
        for period_ns in sorted({item.tag.every_ns for item in wanted if item.tag.table is table}):
            items = [item for item in wanted if item.tag.table is table and item.tag.every_ns == period_ns]
            left = _taken_along(of_table, items)
            parts = partition(left, _most(device, table), device.max_gap, partial(cost_ns, table))
            of_table += [_block(table, period_ns, part) for part in parts]
        blocks += of_table
    return blocks


def partition(wanted: Iterable[Wanted], most: int, max_gap: int, cost_ns: Callable[[int], int]) -> list[list[Wanted]]:
    """The cheapest cut into runs, none spanning more than `most` nor reading through more than `max_gap` at a place."""
    ordered = sorted(wanted, key=lambda item: (item.start, item.end))
    starts = [item.start for item in ordered]
    ends = [item.end for item in ordered]
    cost_of = cache(cost_ns)
    best: list[float] = [0.0, *([inf] * len(ordered))]  # ns to read the first k
    cut = [0] * (len(ordered) + 1)  # where the last run of that best way begins
    for first, start in enumerate(starts):
        end = start
        for last in range(first, len(ordered)):
            gap, end = starts[last] - end, max(end, ends[last])
            if last > first and (gap > max_gap or end - start > most):
                break
            cost = best[first] + cost_of(end - start)
            if cost < best[last + 1]:
                best[last + 1], cut[last + 1] = cost, first
    return _runs(ordered, cut)


def _runs(ordered: list[Wanted], cut: list[int]) -> list[list[Wanted]]:
    runs = []
    end = len(ordered)
    while end:
        runs.append(ordered[cut[end] : end])
        end = cut[end]
    return runs[::-1]


def _taken_along(faster: list[Block], items: list[Wanted]) -> list[Wanted]:
    """Give the items that lie inside a slightly faster block to it, for free; returns the others."""
    left = []
    for item in items:
        host = next((index for index, block in enumerate(faster) if _lies_in(item, block)), None)
        if host is None:
            left.append(item)
        else:
            block = faster[host]
            faster[host] = _block(block.table, block.period_ns, [*block.wanted, item])
    return left


def _lies_in(item: Wanted, block: Block) -> bool:
    inside = block.address <= item.start and item.end <= block.address + block.quantity
    return inside and item.tag.every_ns <= MAX_OVERSAMPLE * block.period_ns


def _block(table: Table, period_ns: int, wanted: list[Wanted]) -> Block:
    start = min(item.start for item in wanted)
    quantity = max(item.end for item in wanted) - start
    in_order = sorted(wanted, key=lambda item: (item.start, item.end, item.tag.shift, item.number))
    return Block(table, period_ns, start, quantity, tuple(in_order))


def _most(device: Device, table: Table) -> int:
    return MAX_BITS if table in BIT_TABLES else device.max_registers

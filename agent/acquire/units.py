"""Tags in, what of them has to be read at once out; pure."""

from collections.abc import Iterable
from typing import NamedTuple

from agent.acquire.merge import Wanted, in_order


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

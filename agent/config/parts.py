"""The [[bus.device]] tables of one bus in; those of one unit, with the limits that all of them respect, out.

A unit may need several tables: two device maps, or a map and tags that count from elsewhere. One of them has the unit,
the others say `part_of = "NAME"`. They share one device on the wire, so what it can do is the strictest that any says.
"""

from typing import NamedTuple

from agent.config.model import Hole
from agent.config.nodes import Place, quoted, shown
from agent.config.report import did_you_mean
from agent.config.walk import Values

STRICTEST = {"gap_ms": max, "max_registers": min, "max_bits": min, "max_gap": min}


class ForeignHoles(NamedTuple):
    """Registers that another part of the unit says it does not have."""

    device: str
    place: Place
    holes: tuple[Hole, ...]


class Part(NamedTuple):
    """One table, with the limits of its whole unit."""

    own: Values  # as written
    values: Values  # with the unit's limits
    unit: int
    part_of: str  # name of the one that has the unit; empty: this one has it
    foreign: tuple[ForeignHoles, ...]

    def said(self, key: str) -> str:
        """Who says what holds for `key`, in front of its name in a message."""
        place = self.values.place(key)
        return "the device's" if place == self.own.place(key) else f"the unit's ({place})"


def parts_of(devices: list[Values]) -> list[Part]:
    """The tables in their order; a unit that two of them have, and a part of nothing, is reported."""
    heads = _heads(devices)
    by_unit: dict[int, list[Values]] = {}
    for own in devices:
        by_unit.setdefault(id(heads[id(own)]), []).append(own)
    return [_part(own, heads[id(own)], by_unit[id(heads[id(own)])]) for own in devices]


def _part(own: Values, head: Values, together: list[Values]) -> Part:
    values = own
    for key, strictest in STRICTEST.items():
        said = [one for one in together if one.get(key) is not None]
        if said:
            values = values.taking(key, strictest(said, key=lambda one: one.get(key)))
    firmware = next((one for one in together if one.get("firmware") is not None), own)
    _check_agreement("unit", own, head)
    _check_agreement("firmware", own, firmware)
    foreign = tuple(
        ForeignHoles(one.get("name", ""), one.place("holes"), one.get("holes"))
        for one in together
        if one is not own and one.get("holes")
    )
    part_of = "" if own is head else head.get("name", "")
    return Part(own, values.taking("firmware", firmware), head.get("unit", 1), part_of, foreign)


def _check_agreement(key: str, own: Values, other: Values) -> None:
    """There is one device on the wire: it has one unit and one firmware."""
    if own.get(key) is not None and other.get(key) is not None and own.get(key) != other.get(key):
        own.mistake(
            key,
            f"{key} is {_written(own, key)}, but device {quoted(other.get('name', ''))}, which is the same unit's, has "
            f"{_written(other, key)} at {other.place(key)}; leave it out here",
        )


def _written(values: Values, key: str) -> str:
    return shown((values.node.table or {})[key])


# --- which table has the unit -----------------------------------------------------------------------------------------


def _heads(devices: list[Values]) -> dict[int, Values]:
    """Of each table, by its id, the one that has its unit: itself, or the one that it is a part of."""
    named = {one.get("name"): one for one in reversed(devices) if one.get("name")}
    units: dict[int, Values] = {}
    heads = {}
    for own in devices:
        head = _head(own, named)
        heads[id(own)] = head or own
        if head is own:
            _check_unit(own, units)
    return heads


def _head(own: Values, named: dict[str, Values]) -> Values | None:
    """None: it says that it is a part of something that it cannot be a part of."""
    if not own.written("part_of"):
        return own
    whole: str | None = own.get("part_of")
    head = named.get(whole) if whole else None
    if whole is None:
        return None
    if head is None:
        own.mistake("part_of", f"the bus has no device {quoted(whole)}{did_you_mean(whole, named)}")
    elif head is own:
        own.mistake("part_of", "part_of names this device itself; it takes the name of the one that has the unit")
    elif head.written("part_of"):
        root = head.get("part_of")
        remedy = f'; write part_of = "{root}"' if root and root != own.get("name") else ""
        own.mistake("part_of", f"device {quoted(whole)} is itself a part{remedy}")
    else:
        return head
    return None


def _check_unit(own: Values, units: dict[int, Values]) -> None:
    """One unit twice is a slip of somebody who copied a table, or one device that needs both: only they can say."""
    if not own.written("unit"):
        own.report.mistake(own.node.key_place, "[[bus.device]] has no 'unit', which it needs")
    elif own.get("unit") is not None:
        first = units.setdefault(own.get("unit"), own)
        if first is not own:
            name = first.get("name") or "the name of that device"
            own.mistake(
                "unit",
                f"unit {own.get('unit')} is used twice; first at {first.place('unit')}; "
                f'where both are one device, write part_of = "{name}" instead of this unit',
            )

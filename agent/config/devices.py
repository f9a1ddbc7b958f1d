"""The [[bus.device]] tables of one bus in, typed devices with their device maps merged in out."""

from collections.abc import Iterable
from typing import NamedTuple

from agent.config.maps import LIMITS, MAX_PATH, Maps, groups_used
from agent.config.model import MAX_BITS, MAX_REGISTERS, Device, Hole, Tag
from agent.config.nodes import Node, Place, quoted, shown
from agent.config.parts import ForeignHoles, Part, parts_of
from agent.config.registers import registers_of, span_of
from agent.config.report import did_you_mean
from agent.config.sunspec import laid_out
from agent.config.tags import EVERY, TAG, FromDevice, read_tag
from agent.config.values import as_is, name, name_list, text, whole
from agent.config.walk import Key, Values, once, read_table, read_tables
from agent.model import NS_PER_S

DEFAULT_EVERY_NS = NS_PER_S
MAX_FIRMWARE = 64
MAX_UNIT_OF_STANDARD = 247  # 248..255 are reserved by the standard and used in the field
DEVICE = {
    "name": Key(name, required=True),
    "unit": Key(whole(0, 255)),
    "part_of": Key(name),
    "device": Key(text(MAX_PATH)),
    "firmware": Key(text(MAX_FIRMWARE)),
    "select": Key(name_list),
    "every": Key(EVERY),
    "base": Key(whole(0, 1)),
    "group": Key(as_is),
    "tag": Key(as_is),
    **LIMITS,
}
GROUP = {"every": Key(EVERY)}
MAP_KEYS = (  # that mean nothing without a map
    ("select", "chooses from"),
    ("start", "moves the registers of"),
    ("sunspec", "is the model of"),
)


class _Source(NamedTuple):
    """What a device's map adds."""

    tags: tuple[str, ...]
    is_placed: bool  # the configuration says where its registers begin


def read_devices(bus: Values, maps: Maps, *, is_tcp: bool) -> tuple[Device, ...]:
    """All devices of a bus; names are used once, units too, but for devices that are parts of another one."""
    names: dict[str, Place] = {}
    read: list[tuple[Values, _Source]] = []
    for node in read_tables(bus, "device", "[[bus.device]]"):
        table, from_map = maps.applied(node)
        values = read_table(table, DEVICE, "[[bus.device]]", bus.report)
        once(values, "name", names, "device name")
        _check_unit(values, is_tcp=is_tcp)
        source = _Source(from_map, "start" in (node.table or {}))
        _check_start(values, source)
        read.append((values, source))
    parts = parts_of([values for values, _ in read])
    _check_models((part, source) for part, (_, source) in zip(parts, read, strict=True))
    return laid_out([_device(part, source) for part, (_, source) in zip(parts, read, strict=True)])


def _check_models(devices: Iterable[tuple[Part, _Source]]) -> None:
    """Only one model of a number is found in a unit: two tables would show the same values under two names."""
    seen: dict[tuple[int, int], Values] = {}
    for part, source in devices:
        values = part.values
        if values.get("sunspec") and not source.is_placed:
            first = seen.setdefault((part.unit, values.get("sunspec")), values)
            if first is not values:
                values.mistake(
                    "device",
                    f"SunSpec model {values.get('sunspec')} is looked for twice in unit {part.unit}; first at "
                    f"{first.place('device')}; say `start` of both where the device has several",
                )


def _device(part: Part, source: _Source) -> Device:
    values = part.values
    for key, does in MAP_KEYS:
        if values.written(key) and not values.written("device"):
            values.report.mistake(values.key_place(key), f"{key} {does} a device map; there is no 'device'")
    if values.written("sunspec") and values.written("device") and not values.written("start"):
        message = "a map with 'sunspec' needs 'start', where that model usually stands"
        values.report.mistake(values.key_place("sunspec"), message)
    return Device(
        name=values.get("name", ""),
        unit=part.unit,
        part_of=part.part_of,
        model=values.get("device", ""),
        firmware=values.get("firmware", ""),
        sunspec=0 if source.is_placed else values.get("sunspec", 0),
        start=values.get("start", 0),
        gap_ns=values.get("gap_ms", 0),
        max_registers=values.get("max_registers", MAX_REGISTERS),
        max_bits=values.get("max_bits", MAX_BITS),
        max_gap=values.get("max_gap", MAX_BITS),
        holes=(*values.get("holes", ()), *(hole for other in part.foreign for hole in other.holes)),
        functions=values.get("functions", ()),
        tags=_tags(part, source),
    )


def _check_unit(values: Values, *, is_tcp: bool) -> None:
    unit = values.get("unit", 1)
    if unit == 0 and not is_tcp:
        values.mistake("unit", "unit is 0, the broadcast address, which no device answers; allowed: 1 to 247")
    elif unit > MAX_UNIT_OF_STANDARD and not is_tcp:
        values.warn("unit", f"unit is {unit}; the standard reserves 248 to 255")


def _check_start(values: Values, source: _Source) -> None:
    """A map that moves shows other registers' values where a device has put them elsewhere."""
    if values.written("start") and not source.is_placed and not values.written("sunspec"):
        start = values.get("start")
        values.warn(
            "device",
            f"where the registers of this map begin differs from device to device, and {start} is only usual; "
            f"write start = {start} when `fieldtap read` has shown it (docs/DEVICE_MAPS.md, SunSpec)",
        )


def _tags(part: Part, source: _Source) -> tuple[Tag, ...]:
    device = part.values
    seen: dict[str, Place] = {}
    nodes: list[Node] = read_tables(device, "tag", "[[bus.device.tag]]")
    if not device.written("tag"):
        _check_source(device)
    of_device = FromDevice(
        every_ns=device.get("every", DEFAULT_EVERY_NS),
        base=device.get("base", 0),
        sentinels=device.get("sentinels"),
        group_every_ns=_groups(device, nodes),
        from_map=source.tags,
        model_at=device.place("start") if device.get("sunspec") and not source.is_placed else None,
    )
    tags: list[Tag] = []
    of_map: list[Tag] = []  # whose table is in another file than the device's
    for node in nodes:
        values = read_table(node, TAG, "[[bus.device.tag]]", device.report)
        once(values, "name", seen, "tag name")
        tag = read_tag(values, of_device)
        if tag:
            if tag.name in source.tags and values.node.place.file != device.place("max_registers").file:
                of_map.append(tag)
            else:
                _check_size(values, tag, part)
            _check_holes(values, tag, device.get("holes", ()), part.foreign)
            tags.append(tag)
    _check_size_of_map(device, of_map)
    return tuple(tags)


def _groups(device: Values, tags: list[Node]) -> dict[str, int | None]:
    """The periods of [bus.device.group.NAME]; None where one has none."""
    node: Node | None = device.get("group")
    if node is None:
        return {}
    if node.table is None:
        device.mistake("group", f"group is {shown(node)}; allowed: tables [bus.device.group.NAME] with every = ..")
        return {}
    used = groups_used(tags)
    for name_, group in node.table.items():
        if name_ not in used:
            hint = did_you_mean(name_, used)
            device.report.mistake(group.key_place, f"no tag of the device is in group {quoted(name_)}{hint}")
    return {
        name_: read_table(group, GROUP, "[bus.device.group]", device.report).get("every")
        for name_, group in node.table.items()
    }


def _check_source(device: Values) -> None:
    """Without tags of its own a device has those of its map."""
    if not device.written("device"):
        device.report.mistake(device.node.key_place, "[[bus.device]] has no tags: no 'device', no [[bus.device.tag]]")
    elif device.get("select") == ():
        device.mistake(
            "select", "select is an empty array, so the device has no tags; without it, all of its map's are read"
        )


def _check_size(values: Values, tag: Tag, part: Part) -> None:
    """A tag is never split over two reads: it would mix two moments."""
    length = registers_of(tag)
    max_registers = part.values.get("max_registers", MAX_REGISTERS)
    limit = f"{part.said('max_registers')} max_registers is {max_registers}"
    if length > max_registers:
        values.mistake("type", f"this type takes {length} registers; {limit}")
    elif tag.scale_address is not None and span_of(tag) > max_registers:
        message = f"the tag and its scale_register span {span_of(tag)} registers, which must be read at once; "
        values.mistake("scale_register", message + limit)


def _check_size_of_map(device: Values, tags: list[Tag]) -> None:
    """The same of a map's tags, said once and where the limit stands: the map is right."""
    most = device.get("max_registers", MAX_REGISTERS)
    longest = max(tags, key=span_of, default=None)
    if longest and span_of(longest) > most:
        needs = f"tag {quoted(longest.name)} of the device map needs {span_of(longest)} registers in one answer"
        device.mistake("max_registers", f"max_registers is {most}; {needs}")


def _check_holes(values: Values, tag: Tag, own: tuple[Hole, ...], foreign: tuple[ForeignHoles, ...]) -> None:
    for hole in _touched(tag, own):
        values.mistake("register", f"this register lies in the device's hole {_span(hole)}")
    for device, place, holes in foreign:
        for hole in _touched(tag, holes):
            values.mistake(
                "register",
                f"this register lies in the hole {_span(hole)} of device {quoted(device)}, another part of the unit "
                f"({place}); leave the tag out, or write holes of {quoted(device)} that are without it",
            )


def _touched(tag: Tag, holes: tuple[Hole, ...]) -> list[Hole]:
    end = tag.address + registers_of(tag)
    return [hole for hole in holes if hole.table is tag.table and tag.address <= hole.last and hole.first < end]


def _span(hole: Hole) -> str:
    return f"{hole.table}:{hole.first}-{hole.last}"

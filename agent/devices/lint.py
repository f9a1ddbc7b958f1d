"""A device map's path in, everything that is wrong or careless in it out, as FILE:LINE:COL: message."""

import re
import tomllib
from itertools import pairwise
from pathlib import Path

from agent.config import files
from agent.config.maps import groups_used
from agent.config.model import Device, Table, Tag
from agent.config.nodes import Node, Place
from agent.config.registers import registers_of
from agent.config.report import Remark, Report, did_you_mean
from agent.devices.catalogue import read_device_map
from agent.devices.model import DeviceMap
from agent.model import Order, ValueType

FUNCTION_OF = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}
LEAST_SCALE, MOST_SCALE = 1e-9, 1e9  # beyond, somebody has counted the zeros wrong
UNITS = {  # by how a name begins, the longest that fits; what such a quantity can be in
    "voltage": ("V", "mV", "kV"),
    "current": ("A", "mA", "kA"),
    "frequency": ("Hz",),
    "power": ("W", "kW", "MW"),
    "power_factor": ("", "%"),
    "reactive_power": ("var", "kvar", "Mvar"),
    "apparent_power": ("VA", "kVA", "MVA"),
    "energy": ("Wh", "kWh", "MWh"),
    "reactive_energy": ("varh", "kvarh", "Mvarh"),
    "apparent_energy": ("VAh", "kVAh", "MVAh"),
    "temperature": ("°C", "°F", "K"),
    "humidity": ("%",),
    "thd": ("%",),
}
WITHOUT_UNIT = (ValueType.BOOL, ValueType.TEXT, ValueType.BITS)

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_FOREIGN_PHASE = re.compile(r"(^|_)(phase_?[abc123]|ph[abc123]|[abc]|[rst]|l[123]n|l12|l23|l31)(_|$)")


def is_device_map(path: str) -> bool:
    """Whether the file is a map and not a configuration; a file that is no TOML is neither."""
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    return "tag" in document and "bus" not in document


def lint(path: str) -> list[Remark]:
    """All remarks, by line; none for a map that may ship."""
    report = Report()
    found = read_device_map(path, report)
    if found is not None:
        document = files.read_map(path, Report())
        places = _places(document)
        _check_document(path, found, report)
        _check_groups(document, report)
        for tag in found.device.tags:
            _check_tag(tag, places.get(tag.name, {}), report)
        _check_registers(found.device, places, report)
    return sorted({*report.mistakes, *report.warnings}, key=lambda remark: (remark.place, remark.message))


def _places(document: Node | None) -> dict[str, dict[str, Node]]:
    """The table of each tag by its name."""
    tables = ((document.table or {})["tag"].tables or []) if document else []
    named = [{**(node.table or {}), "": node} for node in tables]
    return {str(table["name"].value): table for table in named if "name" in table}


def _check_document(path: str, found: DeviceMap, report: Report) -> None:
    if not found.sources:
        report.mistake(Place(path, 1, 1), "the device map has no 'source': where do its registers come from?")
    name = Path(path).stem
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        report.mistake(Place(path), f"the file is called '{name}.toml'; maps are maker-model.toml in lower case")


def _check_groups(document: Node | None, report: Report) -> None:
    table = (document.table if document else None) or {}
    used = groups_used((table["tag"].tables if "tag" in table else None) or [])
    for name, group in ((table["group"].table if "group" in table else None) or {}).items():
        if name not in used:
            report.mistake(group.key_place, f"no tag is in group '{name}'{did_you_mean(name, used)}")


def _check_tag(tag: Tag, table: dict[str, Node], report: Report) -> None:
    _check_name(tag, table, report)
    _check_unit(tag, table, report)
    if tag.order in (Order.CDAB, Order.DCBA) and registers_of(tag) == 1 and tag.type is not ValueType.TEXT:
        report.mistake(_place(table, "order"), f"order {tag.order.name} of one register; it has no words to swap")
    if not LEAST_SCALE <= abs(tag.scale) <= MOST_SCALE:
        report.mistake(_place(table, "scale"), f"scale is {tag.scale:g}; is that right?")


def _check_name(tag: Tag, table: dict[str, Node], report: Report) -> None:
    if not _NAME.fullmatch(tag.name):
        message = f"tag '{tag.name}'; names are lower_snake, like voltage_l1"
    elif _FOREIGN_PHASE.search(tag.name):
        message = f"tag '{tag.name}'; phases are called l1, l2, l3, and what is between two of them l1_l2"
    else:
        return
    report.mistake(_place(table, "name"), message)


def _check_unit(tag: Tag, table: dict[str, Node], report: Report) -> None:
    is_number = tag.type not in WITHOUT_UNIT
    if is_number and "unit" not in table:
        report.mistake(_place(table, "name"), f"tag '{tag.name}' has no 'unit'; of a number without one it is \"\"")
    begins = [start for start in UNITS if tag.name == start or tag.name.startswith(f"{start}_")]
    usual = UNITS[max(begins, key=len)] if begins else ()
    if is_number and usual and "unit" in table and tag.unit not in usual:
        listed = ", ".join(f'"{unit}"' for unit in usual)
        hint = did_you_mean(tag.unit, usual)
        report.mistake(_place(table, "unit"), f"tag '{tag.name}' in \"{tag.unit}\"; expected: {listed}{hint}")


def _check_registers(device: Device, places: dict[str, dict[str, Node]], report: Report) -> None:
    tags = sorted(device.tags, key=lambda tag: (tag.table, tag.address, tag.shift))
    for first, second in pairwise(tags):
        if _overlap(first, second):
            message = f"tags '{first.name}' and '{second.name}' share registers"
            report.mistake(_place(places.get(second.name, {}), "register"), message)
    for tag in tags:
        function = FUNCTION_OF[tag.table]
        if device.functions and function not in device.functions:
            message = f"the {tag.table} table is read with function {function}, which is not in functions"
            report.mistake(_place(places.get(tag.name, {}), "register"), message)


def _overlap(first: Tag, second: Tag) -> bool:
    if first.table is not second.table or first.address + registers_of(first) <= second.address:
        return False
    return ValueType.BITS not in (first.type, second.type) or first.shift + first.bits > second.shift


def _place(table: dict[str, Node], key: str) -> Place:
    node = table.get(key) or table.get("")
    return node.place if node else Place("")
